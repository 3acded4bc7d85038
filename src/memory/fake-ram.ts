/**
 * Guest RAM backed by an ordinary ArrayBuffer, for tests of code that reads or writes guest memory: loaders, ACPI,
 * virtqueues. It has no host address, so nothing that reaches a system call can use it.
 */
import { type Gpa, GuestMemoryError, type GuestRam, type RamRange } from './types.js';

/** Implements {@link GuestRam} over `size` bytes at `base`. */
export class ArrayRam implements GuestRam {
  readonly ranges: readonly RamRange[];
  readonly isMapped = false;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(
    size: number,
    readonly base: Gpa = 0,
  ) {
    this.ranges = [{ gpa: base, size, readOnly: false }];
    this.#bytes = new Uint8Array(size);
    this.#view = new DataView(this.#bytes.buffer);
  }

  #offset(gpa: Gpa, length: number): number {
    if (!this.contains(gpa, length)) throw new GuestMemoryError(gpa, length);
    return gpa - this.base;
  }

  contains(gpa: Gpa, length: number): boolean {
    return length >= 0 && gpa >= this.base && gpa + length <= this.base + this.#bytes.length;
  }

  readU8(gpa: Gpa): number {
    return this.#view.getUint8(this.#offset(gpa, 1));
  }
  readU16(gpa: Gpa): number {
    return this.#view.getUint16(this.#offset(gpa, 2), true);
  }
  readU32(gpa: Gpa): number {
    return this.#view.getUint32(this.#offset(gpa, 4), true);
  }
  readU64(gpa: Gpa): number {
    return Number(this.#view.getBigUint64(this.#offset(gpa, 8), true));
  }
  writeU8(gpa: Gpa, value: number): void {
    this.#view.setUint8(this.#offset(gpa, 1), value);
  }
  writeU16(gpa: Gpa, value: number): void {
    this.#view.setUint16(this.#offset(gpa, 2), value, true);
  }
  writeU32(gpa: Gpa, value: number): void {
    this.#view.setUint32(this.#offset(gpa, 4), value, true);
  }
  writeU64(gpa: Gpa, value: number): void {
    this.#view.setBigUint64(this.#offset(gpa, 8), BigInt(value), true);
  }
  bytes(gpa: Gpa, length: number): Uint8Array {
    const offset = this.#offset(gpa, length);
    return this.#bytes.subarray(offset, offset + length);
  }
  write(gpa: Gpa, data: Uint8Array): void {
    this.#bytes.set(data, this.#offset(gpa, data.length));
  }
  hostAddress(gpa: Gpa, length: number): number {
    this.#offset(gpa, length);
    throw new GuestMemoryError(gpa, length);
  }
}
