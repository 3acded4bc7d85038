/**
 * A function's MSI-X (PCI Local Bus 3.0, section 6.8.2): the table and the pending bits as the guest sees them. Messages and pending bits live in
 * the machine's {@link MsiVector} table; here is only each entry's own mask bit. A vector is silent while its entry is masked, the function
 * is masked, or MSI-X is off. Accesses narrower than 4 bytes or unaligned are undefined by the specification: reads give the bytes, writes
 * are ignored.
 */
import type { AccessSize } from '../device.js';
import type { MsiVector } from '../msi.js';
import type { BarHandler } from './bar.js';
import { MSIX_ENTRY_SIZE, MSIX_VECTOR_MASKED } from './registers.js';

/** PBA bytes: a bit a vector, in whole quadwords. */
export function pbaSize(vectors: number): number {
  return Math.ceil(vectors / 64) * 8;
}

/** The part of a dword that an access of `size` at `offset` reads. */
function slice(dword: number, offset: number, size: AccessSize): number {
  const value = dword >>> (8 * (offset % 4));
  return size === 4 ? value : value & (size === 2 ? 0xffff : 0xff);
}

export class Msix {
  /** The table's and the PBA's registers, to be placed in a BAR. */
  readonly table: BarHandler;
  readonly pba: BarHandler;

  /**
   * @param masks one word an entry in the function's state: its Vector Control register
   * @param isLive whether MSI-X is enabled and the function is not masked
   */
  constructor(
    readonly vectors: readonly MsiVector[],
    private readonly masks: Uint32Array,
    private readonly isLive: () => boolean,
  ) {
    this.table = {
      read: (offset, size) => this.#readTable(offset, size),
      write: (offset, size, value) => this.#writeTable(offset, size, value),
    };
    this.pba = { read: (offset, size) => this.#readPba(offset, size), write: () => undefined };
  }

  /** Sets every entry to its reset value: masked. */
  reset(): void {
    this.masks.fill(MSIX_VECTOR_MASKED);
  }

  /** Applies the enable and function mask bits to every vector, after either changed. */
  refresh(): void {
    for (let entry = 0; entry < this.vectors.length; entry++) this.#refreshEntry(entry);
  }

  #refreshEntry(entry: number): void {
    const masked = (this.masks[entry] & MSIX_VECTOR_MASKED) !== 0;
    this.vectors[entry].setMasked(masked || !this.isLive());
  }

  #readTable(offset: number, size: AccessSize): number {
    const entry = Math.floor(offset / MSIX_ENTRY_SIZE);
    const vector = this.vectors[entry];
    if (vector === undefined) return 0;
    switch ((offset % MSIX_ENTRY_SIZE) >> 2) {
      case 0:
        return slice(vector.addressLow, offset, size);
      case 1:
        return slice(vector.addressHigh, offset, size);
      case 2:
        return slice(vector.data, offset, size);
      default:
        return slice(this.masks[entry], offset, size);
    }
  }

  #writeTable(offset: number, size: AccessSize, value: number): void {
    const entry = Math.floor(offset / MSIX_ENTRY_SIZE);
    const vector = this.vectors[entry];
    if (vector === undefined || size !== 4 || offset % 4 !== 0) return;
    const word = (offset % MSIX_ENTRY_SIZE) >> 2;
    if (word === 0) vector.program({ addressLow: value });
    else if (word === 1) vector.program({ addressHigh: value });
    else if (word === 2) vector.program({ data: value });
    else {
      this.masks[entry] = value & MSIX_VECTOR_MASKED;
      this.#refreshEntry(entry);
    }
  }

  #readPba(offset: number, size: AccessSize): number {
    let dword = 0;
    const first = Math.floor(offset / 4) * 32;
    for (let bit = 0; bit < 32; bit++) if (this.vectors[first + bit]?.pending) dword |= 1 << bit;
    return slice(dword >>> 0, offset, size);
  }
}
