/**
 * The PC's reset switches: the reset control register at 0xCF9 (Intel ICH LPC bridge, RST_CNT) and system control port A at 0x92 (PS/2:
 * fast A20 and fast reset). A20 is always on.
 */
import type { DeviceContext } from './context.js';
import type { AccessSize, BusDevice } from './device.js';
import type { StateWindow } from './state.js';

export const RESET_CONTROL_PORT = 0xcf9;
export const SYSTEM_CONTROL_A_PORT = 0x92;

const SYS_RST = 0x02;
const RST_CPU = 0x04;
const FULL_RST = 0x08;

const FAST_RESET = 0x01;
const FAST_A20 = 0x02;

/** 0xCF9: a write that sets RST_CPU resets the machine. */
export class ResetControl implements BusDevice {
  readonly name = 'reset control';
  readonly state: StateWindow;

  constructor(private readonly context: DeviceContext) {
    this.state = context.arena.claim(this.name, 1);
  }

  read(_offset: number, _size: AccessSize): number {
    return this.state.u32[0];
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    this.state.u32[0] = value & (SYS_RST | FULL_RST);
    if ((value & RST_CPU) !== 0) this.context.request('reset');
  }
}

/** 0x92: bit 0 resets, bit 1 (A20) reads as set. */
export class SystemControlA implements BusDevice {
  readonly name = 'system control port A';
  readonly state: StateWindow;

  constructor(private readonly context: DeviceContext) {
    this.state = context.arena.claim(this.name, 1);
  }

  read(_offset: number, _size: AccessSize): number {
    return FAST_A20;
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    if ((value & FAST_RESET) !== 0) this.context.request('reset');
  }
}
