/**
 * The PIO and MMIO address spaces: finds the device of an access, holds its lock, splits what is too wide. Accesses to nothing read as
 * all ones and write nowhere, as on a PC.
 */
import { type AccessSize, type BusDevice, floatingBus } from './device.js';

interface Entry {
  readonly base: number;
  readonly end: number;
  readonly device: BusDevice;
}

/** A dynamic window: PCI BARs move, so their function resolves addresses itself. */
export interface AddressResolver {
  /** The device at `address` and its offset there, or undefined. */
  resolve(address: number): { device: BusDevice; offset: number } | undefined;
}

export class Bus {
  readonly #entries: Entry[] = [];
  readonly #resolvers: AddressResolver[] = [];
  #last: Entry | undefined;

  constructor(readonly name: 'PIO' | 'MMIO') {}

  /** @throws Error when windows overlap: a mistake of the machine's composition, not of the guest */
  add(base: number, size: number, device: BusDevice): void {
    const clash = this.#entries.find((entry) => base < entry.end && entry.base < base + size);
    if (clash !== undefined)
      throw new Error(`${this.name} window of ${device.name} overlaps ${clash.device.name}`);
    this.#entries.push({ base, end: base + size, device });
    this.#entries.sort((a, b) => a.base - b.base);
  }

  addResolver(resolver: AddressResolver): void {
    this.#resolvers.push(resolver);
  }

  #find(address: number): Entry | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.base && address < last.end) return last;
    for (const entry of this.#entries) {
      if (address >= entry.base && address < entry.end) {
        this.#last = entry;
        return entry;
      }
    }
    for (const resolver of this.#resolvers) {
      const found = resolver.resolve(address);
      if (found !== undefined) {
        return { base: address - found.offset, end: address + 1, device: found.device };
      }
    }
    return undefined;
  }

  /** A guest read of 1, 2 or 4 bytes. An access that reaches past its window is cut off by the device itself. */
  read(address: number, size: AccessSize): number {
    const entry = this.#find(address);
    if (entry === undefined) return floatingBus(size);
    const { device } = entry;
    device.state.lock();
    try {
      return device.read(address - entry.base, size);
    } finally {
      device.state.unlock();
    }
  }

  /** A guest write of 1, 2 or 4 bytes. */
  write(address: number, size: AccessSize, value: number): void {
    const entry = this.#find(address);
    if (entry === undefined) return;
    const { device } = entry;
    device.state.lock();
    try {
      device.write(address - entry.base, size, value);
    } finally {
      device.state.unlock();
    }
  }
}
