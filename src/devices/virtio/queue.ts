/**
 * The device's side of a split virtqueue (Virtual I/O Device 1.2, section 2.7) with indirect descriptors and EVENT_IDX.
 *
 * Everything in the rings is the guest's word and may change while it is read: each value is read once, checked, and used from there. A
 * chain that breaks the specification is refused whole with a {@link VirtqueueError}; nothing here loops longer than the tables are.
 */
import { fullFence } from '../../memory/guest-memory.js';
import type { Gpa, GuestRam } from '../../memory/types.js';
import { TvmmError } from '../../sys/errors.js';
import {
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
  VIRTQUEUE_MAX_SIZE,
} from './constants.js';
import type { DataPlaneHost } from './data-plane.js';
import { RamMap } from './ram-map.js';

/** The driver broke the rules of the ring; the device needs a reset. */
export class VirtqueueError extends TvmmError {
  constructor(message: string) {
    super(message, { code: 'VIRTQUEUE' });
  }
}

/** What the driver set up: addresses of the three areas and the size. */
export interface QueueSetup {
  readonly size: number;
  readonly descriptors: Gpa;
  readonly driver: Gpa;
  readonly device: Gpa;
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  /** Positions to go on from, after a snapshot. */
  readonly nextAvail?: number;
  readonly nextUsed?: number;
}

const DESCRIPTOR_SIZE = 16;
/** The longest chain that is taken, through an indirect table: what one preadv can carry (IOV_MAX). */
export const MAX_CHAIN = 1024;
/** `next` has 16 bits: what lies behind in an indirect table is never used. */
const REACHABLE = 0x10000;
const MAX_CHAIN_BYTES = 0xffff_ffff;

/**
 * One chain of buffers, filled by {@link Virtqueue.pop}. Made once and reused: the arrays are the chain. Buffers `0` to `readable - 1` are
 * for the device to read, `readable` to `count - 1` for it to write. Every buffer has been checked to lie in one region of guest RAM.
 */
export class DescriptorChain {
  /** To give back to {@link Virtqueue.push}. */
  head = 0;
  count = 0;
  readable = 0;
  /** Bytes in the readable and in the writable buffers. */
  readableBytes = 0;
  writableBytes = 0;
  readonly addresses = new Float64Array(MAX_CHAIN);
  readonly lengths = new Uint32Array(MAX_CHAIN);
}

export class Virtqueue {
  readonly size: number;
  readonly #ram: GuestRam;
  readonly #map: RamMap;
  readonly #indirect: boolean;
  readonly #eventIdx: boolean;
  readonly #mask: number;
  /** The descriptor table as words: address low, address high, length, flags and next. */
  readonly #table: Uint32Array;
  /** flags, idx, ring[size], used_event. */
  readonly #avail: Uint16Array;
  /** flags, idx. */
  readonly #used: Uint16Array;
  /** ring[size] of id and length. */
  readonly #usedRing: Uint32Array;
  readonly #availEvent: Uint16Array;
  #nextAvail: number;
  /** The driver's index as it was last read. */
  #seenAvail: number;
  #nextUsed: number;
  /** Where the used index was when the driver's wish was last looked at. */
  #signalledUsed: number;

  /** @throws VirtqueueError when the areas are not aligned, not in RAM, or the size is impossible (section 2.7) */
  constructor(ram: GuestRam, setup: QueueSetup) {
    const { size } = setup;
    if (!(size > 0 && size <= VIRTQUEUE_MAX_SIZE && (size & (size - 1)) === 0)) {
      throw new VirtqueueError(`a size of ${size} is not a power of two up to ${VIRTQUEUE_MAX_SIZE}`);
    }
    this.size = size;
    this.#mask = size - 1;
    this.#ram = ram;
    this.#map = RamMap.of(ram);
    this.#indirect = setup.indirect;
    this.#eventIdx = setup.eventIdx;
    const table = this.#area('descriptor table', setup.descriptors, size * DESCRIPTOR_SIZE, 16, false);
    const avail = this.#area('driver area', setup.driver, 6 + 2 * size, 2, false);
    const used = this.#area('device area', setup.device, 6 + 8 * size, 4, true);
    this.#table = new Uint32Array(table.buffer, table.byteOffset, size * 4);
    this.#avail = new Uint16Array(avail.buffer, avail.byteOffset, 3 + size);
    this.#used = new Uint16Array(used.buffer, used.byteOffset, 2);
    this.#usedRing = new Uint32Array(used.buffer, used.byteOffset + 4, size * 2);
    this.#availEvent = new Uint16Array(used.buffer, used.byteOffset + 4 + 8 * size, 1);
    this.#nextAvail = setup.nextAvail ?? 0;
    this.#seenAvail = this.#nextAvail;
    this.#nextUsed = setup.nextUsed ?? 0;
    this.#signalledUsed = this.#nextUsed;
  }

  #area(what: string, gpa: Gpa, length: number, alignment: number, write: boolean): Uint8Array {
    const at = `the ${what} at 0x${gpa.toString(16)}`;
    if (gpa % alignment !== 0) throw new VirtqueueError(`${at} is not aligned to ${alignment} bytes`);
    if (!this.#map.holds(gpa, length, write))
      throw new VirtqueueError(`${at} (${length} bytes) is not in RAM`);
    return this.#ram.bytes(gpa, length);
  }

  /** Positions in the rings, for snapshots. */
  get nextAvail(): number {
    return this.#nextAvail;
  }
  get nextUsed(): number {
    return this.#nextUsed;
  }

  /**
   * Takes the next available chain.
   *
   * @returns false when there is none
   * @throws VirtqueueError for a chain that breaks the specification
   */
  pop(chain: DescriptorChain): boolean {
    if (!this.hasAvailable()) return false;
    const head = this.#avail[2 + (this.#nextAvail & this.#mask)];
    if (head >= this.size) throw new VirtqueueError(`head ${head} is beyond the queue's ${this.size}`);
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    chain.head = head;
    chain.count = 0;
    chain.readable = 0;
    chain.readableBytes = 0;
    chain.writableBytes = 0;
    this.#walk(chain, head);
    return true;
  }

  /** Whether the driver has made a chain available. @throws VirtqueueError when its index has run away */
  hasAvailable(): boolean {
    if (this.#seenAvail !== this.#nextAvail) return true;
    this.#seenAvail = Atomics.load(this.#avail, 1);
    const count = (this.#seenAvail - this.#nextAvail) & 0xffff;
    if (count > this.size) {
      throw new VirtqueueError(`${count} chains are available at once in a queue of ${this.size}`);
    }
    return count !== 0;
  }

  #walk(chain: DescriptorChain, head: number): void {
    const last = this.#follow(chain, this.#table, 0, this.size, head);
    if (last < 0) return;
    const table = this.#table;
    const gpa = table[last] + table[last + 1] * 2 ** 32;
    this.#walkIndirect(chain, gpa, table[last + 2]);
  }

  /**
   * Follows a chain through a table of `entries` descriptors that begins at word `origin`.
   *
   * @returns the word of the indirect descriptor that ends it, or -1
   */
  #follow(
    chain: DescriptorChain,
    table: Uint32Array,
    origin: number,
    entries: number,
    first: number,
  ): number {
    let index = first;
    for (let seen = 0; seen < entries; seen++) {
      const word = origin + index * 4;
      const flagsNext = table[word + 3];
      if ((flagsNext & VIRTQ_DESC_F_INDIRECT) !== 0) {
        if ((flagsNext & VIRTQ_DESC_F_NEXT) !== 0) {
          throw new VirtqueueError('a descriptor has both INDIRECT and NEXT');
        }
        return word;
      }
      const address = table[word] + table[word + 1] * 2 ** 32;
      this.#append(chain, address, table[word + 2], flagsNext);
      if ((flagsNext & VIRTQ_DESC_F_NEXT) === 0) return -1;
      index = flagsNext >>> 16;
      if (index >= entries) throw new VirtqueueError(`next ${index} is beyond the table's ${entries}`);
    }
    throw new VirtqueueError('a descriptor chain has a loop');
  }

  /** Section 2.7.5.3: a table of descriptors anywhere in memory, itself a chain from entry 0. */
  #walkIndirect(chain: DescriptorChain, gpa: Gpa, bytes: number): void {
    if (!this.#indirect) throw new VirtqueueError('an indirect descriptor, which was not negotiated');
    if (bytes === 0 || bytes % DESCRIPTOR_SIZE !== 0) {
      throw new VirtqueueError(`an indirect table of ${bytes} bytes is not made of whole descriptors`);
    }
    if (!this.#map.holds(gpa, bytes, false)) {
      throw new VirtqueueError(`the indirect table at 0x${gpa.toString(16)} (${bytes} bytes) is not in RAM`);
    }
    const entries = bytes / DESCRIPTOR_SIZE;
    const direct = this.#map.wordsAt(gpa, bytes);
    const last =
      direct === undefined
        ? this.#follow(chain, this.#copyTable(gpa, entries), 0, entries, 0)
        : this.#follow(chain, direct.words, (gpa - direct.gpa) / 4, entries, 0);
    if (last >= 0) throw new VirtqueueError('an indirect table in another');
  }

  /** For a table that is not aligned, or lies across two views: no driver makes one, but none of it is forbidden. */
  #copyTable(gpa: Gpa, entries: number): Uint32Array {
    const table = new Uint32Array(Math.min(entries, REACHABLE) * 4);
    new Uint8Array(table.buffer).set(this.#ram.bytes(gpa, table.byteLength));
    return table;
  }

  #append(chain: DescriptorChain, address: number, length: number, flags: number): void {
    const { count } = chain;
    const write = (flags & VIRTQ_DESC_F_WRITE) !== 0;
    if (count === MAX_CHAIN) throw new VirtqueueError(`a chain has more than ${MAX_CHAIN} buffers`);
    if (length === 0) throw new VirtqueueError('a descriptor has length 0');
    if (!this.#map.holds(address, length, write)) {
      const what = write ? 'writable RAM' : 'RAM';
      throw new VirtqueueError(`a buffer at 0x${address.toString(16)} (${length} bytes) is not in ${what}`);
    }
    if (write) {
      chain.writableBytes += length;
    } else {
      // Section 2.7.4.2: everything that the device reads comes first.
      if (chain.readable !== count) throw new VirtqueueError('a readable buffer follows a writable one');
      chain.readable++;
      chain.readableBytes += length;
    }
    if (chain.readableBytes + chain.writableBytes > MAX_CHAIN_BYTES) {
      throw new VirtqueueError('a chain is longer than 4 GiB');
    }
    chain.addresses[count] = address;
    chain.lengths[count] = length;
    chain.count = count + 1;
  }

  /** Takes the last pop back: the chain is available again. */
  undoPop(): void {
    this.#nextAvail = (this.#nextAvail - 1) & 0xffff;
  }

  /**
   * Gives a chain back to the driver.
   *
   * @param head `chain.head`
   * @param written bytes written into its writable buffers, from the first
   */
  push(head: number, written: number): void {
    const slot = (this.#nextUsed & this.#mask) * 2;
    this.#usedRing[slot] = head;
    this.#usedRing[slot + 1] = written;
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    // A sequentially consistent store: the entry is visible before the index.
    Atomics.store(this.#used, 1, this.#nextUsed);
  }

  /** Whether the driver wants an interrupt for what was pushed since the last call (sections 2.7.7 and 2.7.10). */
  needsInterrupt(): boolean {
    const pushed = (this.#nextUsed - this.#signalledUsed) & 0xffff;
    if (pushed === 0) return false;
    const before = this.#signalledUsed;
    this.#signalledUsed = this.#nextUsed;
    // The driver writes its wish, then looks at the used index; we do it the other way round.
    fullFence();
    if (!this.#eventIdx) return (Atomics.load(this.#avail, 0) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
    const usedEvent = Atomics.load(this.#avail, 2 + this.size);
    return ((usedEvent - before) & 0xffff) < pushed;
  }

  /** Asks the driver not to kick while the queue is being served anyway. With EVENT_IDX a stale avail_event does it. */
  disableNotifications(): void {
    if (!this.#eventIdx) Atomics.store(this.#used, 0, VIRTQ_USED_F_NO_NOTIFY);
  }

  /**
   * Asks for a kick at the next available chain.
   *
   * @returns true when there is one already, for which no kick may come: go on serving
   * @throws VirtqueueError when the driver's index has run away
   */
  enableNotifications(): boolean {
    if (this.#eventIdx) Atomics.store(this.#availEvent, 0, this.#nextAvail);
    else Atomics.store(this.#used, 0, 0);
    // The driver writes its index, then looks whether to kick; we do it the other way round.
    fullFence();
    return this.hasAvailable();
  }
}

/** Chains of one queue that are served before other devices get their turn. */
const BATCH = 64;

/**
 * Serves a queue as a plane's `process` should: pops until it is empty, with notifications off, at most {@link BATCH} chains a turn, then
 * interrupts as the driver wishes.
 *
 * @param serve handles one chain; false stops here and puts that chain back (the plane is full: it calls again when it has room)
 */
export function serveQueue(
  host: DataPlaneHost,
  index: number,
  chain: DescriptorChain,
  serve: (queue: Virtqueue, chain: DescriptorChain) => boolean,
): void {
  const queue = host.queue(index);
  if (queue === undefined) return;
  queue.disableNotifications();
  let budget = BATCH;
  do {
    while (queue.pop(chain)) {
      if (!serve(queue, chain)) {
        queue.undoPop();
        host.signalUsed(index);
        return;
      }
      if (--budget === 0) {
        host.signalUsed(index);
        host.again(index);
        return;
      }
    }
  } while (queue.enableNotifications());
  host.signalUsed(index);
}
