/**
 * Port 0x80: firmware's progress codes, which kernels also write to wait for about a microsecond. Keeps the last code; costs nothing else.
 */
import type { DeviceContext } from './context.js';
import type { AccessSize, BusDevice } from './device.js';
import type { StateWindow } from './state.js';

export const DELAY_PORT = 0x80;

export class DelayPort implements BusDevice {
  readonly name = 'delay port';
  readonly state: StateWindow;

  constructor(context: DeviceContext) {
    this.state = context.arena.claim(this.name, 1);
  }

  read(_offset: number, _size: AccessSize): number {
    return this.state.u32[0];
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    this.state.u32[0] = value & 0xff;
  }
}
