/**
 * The 256 bytes of configuration space in shared state, with a write mask per bit: what the mask leaves out is read-only. Accesses may
 * have any offset; bytes behind the end read as all ones and are not written.
 */
import type { AccessSize } from '../device.js';
import { CONFIG_SIZE } from './registers.js';

export class ConfigSpace {
  /** Constant after construction and equal on every thread, so it needs no place in the shared state. */
  readonly #writable = new Uint8Array(CONFIG_SIZE);

  /**
   * @param bytes 256 bytes of shared state
   * @param initialise false where another thread has set the registers already: this thread then only learns the masks
   */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly initialise: boolean,
  ) {}

  /** Declares a register: reset value and writable bits. */
  define(offset: number, size: AccessSize, value: number, writable = 0): void {
    if (this.initialise) this.set(offset, size, value);
    for (let i = 0; i < size; i++) this.#writable[offset + i] = (writable >>> (8 * i)) & 0xff;
  }

  /** Sets a register from the device's side. */
  set(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) this.bytes[offset + i] = (value >>> (8 * i)) & 0xff;
  }

  get8(offset: number): number {
    return this.bytes[offset];
  }

  get16(offset: number): number {
    return this.bytes[offset] | (this.bytes[offset + 1] << 8);
  }

  get32(offset: number): number {
    return (this.get16(offset) | (this.get16(offset + 2) << 16)) >>> 0;
  }

  /** A guest's read. */
  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) {
      const byte = offset + i < CONFIG_SIZE ? this.bytes[offset + i] : 0xff;
      value |= byte << (8 * i);
    }
    return value >>> 0;
  }

  /** A guest's write: only writable bits change. */
  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size && offset + i < CONFIG_SIZE; i++) {
      const mask = this.#writable[offset + i];
      const byte = (value >>> (8 * i)) & mask;
      this.bytes[offset + i] = (this.bytes[offset + i] & ~mask) | byte;
    }
  }
}
