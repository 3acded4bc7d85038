/**
 * Base address registers (PCI Local Bus 3.0, section 6.2.5): what lies in one, and the window on the bus that answers for it. Its base is
 * read from configuration space at each access, because the guest may move it at any time.
 */
import { type AccessSize, type BusDevice, floatingBus } from '../device.js';
import type { StateWindow } from '../state.js';

/** Registers inside a BAR. The function's lock is held around each call; accesses may reach past the region's end. */
export interface BarHandler {
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
}

/** A part of a BAR. Offsets given to the handler start at the region. */
export interface BarRegion {
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  readonly handler: BarHandler;
}

export type BarKind = 'memory32' | 'memory64' | 'io';

/** A BAR as the bus sees it; gaps between the regions read as all ones. */
export class Bar implements BusDevice {
  readonly #regions: BarRegion[] = [];

  constructor(
    readonly name: string,
    /** 0 to 5; a 64-bit BAR takes the next index too. */
    readonly index: number,
    /** Bytes, a power of two. */
    readonly size: number,
    readonly kind: BarKind,
    readonly state: StateWindow,
  ) {}

  /** @throws RangeError when the region does not fit or overlaps: a mistake of the device, not of the guest */
  add(region: BarRegion): void {
    const clash = this.#regions.some(
      ({ offset, size }) => region.offset < offset + size && offset < region.offset + region.size,
    );
    if (clash || region.offset < 0 || region.offset + region.size > this.size)
      throw new RangeError(`${this.name}: no room for a region at 0x${region.offset.toString(16)}`);
    this.#regions.push(region);
  }

  #find(offset: number): BarRegion | undefined {
    for (const region of this.#regions)
      if (offset >= region.offset && offset < region.offset + region.size) return region;
    return undefined;
  }

  read(offset: number, size: AccessSize): number {
    const region = this.#find(offset);
    return region === undefined ? floatingBus(size) : region.handler.read(offset - region.offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    const region = this.#find(offset);
    region?.handler.write(offset - region.offset, size, value);
  }
}
