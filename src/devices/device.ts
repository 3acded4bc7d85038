/**
 * What the bus knows of a device: a name, register accesses of 1, 2 or 4 bytes, and how it raises interrupts.
 */
import type { StateWindow } from './state.js';

/** Bytes of one access. The bus splits 8-byte accesses into two of 4. */
export type AccessSize = 1 | 2 | 4;

/**
 * A device with a register window on the PIO or MMIO bus. The bus holds `state`'s lock around each call, so that implementations
 * need no locking of their own. Values are unsigned; a read returns at most `size` bytes, a write is given exactly that.
 * Offsets and sizes come from the guest and can be anything inside the window.
 */
export interface BusDevice {
  readonly name: string;
  readonly state: StateWindow;
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
}

/** An interrupt line into the machine's interrupt controllers. Implementations are thread-safe. */
export interface InterruptLine {
  /** The global system interrupt. */
  readonly gsi: number;
  /** Drives the level; edge-triggered inputs fire on the rising edge. Repeating the current level is harmless. */
  setLevel(high: boolean): void;
}

/** What a device asks of the machine as a whole. */
export type MachineRequest = 'poweroff' | 'reset';

/** Delivers a {@link MachineRequest} to the control thread. Returns at once. */
export type RequestMachine = (request: MachineRequest) => void;

/** What an access to nothing reads: all ones, as on a PC's floating bus. */
export function floatingBus(size: AccessSize): number {
  return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
}
