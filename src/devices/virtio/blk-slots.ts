/**
 * Requests in flight of one virtio-blk device: preallocated slots, each with room for the iovecs of the longest chain in native memory.
 * A slot's iovecs point straight into guest RAM, so that a request costs no copy and no allocation.
 */
import type { GuestRam } from '../../memory/types.js';
import { Mapping } from '../../sys/mapping.js';
import { type DescriptorChain, MAX_CHAIN } from './queue.js';

/** struct iovec: base and length, 8 bytes each. */
const IOVEC_SIZE = 16;
const IOVEC_WORDS = 4;

/** What a slot's request does to the image. */
export const OP = { READ: 0, WRITE: 1, FLUSH: 2, PUNCH: 3, ZERO: 4, WRITE_ZEROES: 5 } as const;

export class RequestSlots implements Disposable {
  /** Of the descriptor chain; the queue that it came from. */
  readonly head: Uint16Array;
  readonly queue: Uint8Array;
  readonly op: Uint8Array;
  /** Guest address of the status byte. */
  readonly status: Float64Array;
  /** Bytes of the chain's writable part, status byte included. */
  readonly writable: Float64Array;
  /** Where the rest of the transfer starts in the image, bytes done, and bytes in all. */
  readonly offset: Float64Array;
  readonly done: Float64Array;
  readonly total: Float64Array;
  /** The iovecs that are not done yet: index in the slot's own array, and number. */
  readonly first: Uint16Array;
  readonly count: Uint16Array;
  readonly #memory: Mapping;
  readonly #iovecs: Uint32Array;
  readonly #free: Uint16Array;
  #freeCount: number;
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  readonly #hosts: Float64Array;

  constructor(
    readonly slots: number,
    ram: GuestRam,
  ) {
    this.head = new Uint16Array(slots);
    this.queue = new Uint8Array(slots);
    this.op = new Uint8Array(slots);
    this.status = new Float64Array(slots);
    this.writable = new Float64Array(slots);
    this.offset = new Float64Array(slots);
    this.done = new Float64Array(slots);
    this.total = new Float64Array(slots);
    this.first = new Uint16Array(slots);
    this.count = new Uint16Array(slots);
    this.#memory = Mapping.anonymous(slots * MAX_CHAIN * IOVEC_SIZE, 'iovecs');
    this.#iovecs = new Uint32Array(this.#memory.view());
    this.#free = Uint16Array.from({ length: slots }, (_, i) => slots - 1 - i);
    this.#freeCount = slots;
    this.#starts = Float64Array.from(ram.ranges, (range) => range.gpa);
    this.#ends = Float64Array.from(ram.ranges, (range) => range.gpa + range.size);
    this.#hosts = Float64Array.from(ram.ranges, (range) => ram.hostAddress(range.gpa, range.size));
  }

  /** Slots in use. */
  get used(): number {
    return this.slots - this.#freeCount;
  }

  /** Takes a slot; -1 when all are in use. */
  take(): number {
    return this.#freeCount === 0 ? -1 : this.#free[--this.#freeCount];
  }

  release(slot: number): void {
    this.#free[this.#freeCount++] = slot;
  }

  /**
   * Points the slot's iovecs at `length` bytes of a chain, from `skip` bytes into its buffer `from` on. Neighbours in memory become one
   * iovec. The caller has checked that the chain holds so many bytes; the queue has checked that each buffer is in RAM.
   */
  gather(slot: number, chain: DescriptorChain, from: number, skip: number, length: number): void {
    const base = slot * MAX_CHAIN * IOVEC_WORDS;
    const iovecs = this.#iovecs;
    let count = 0;
    let end = -1;
    let before = skip;
    let rest = length;
    for (let i = from; rest > 0; i++) {
      const buffer = chain.lengths[i];
      if (before >= buffer) {
        before -= buffer;
        continue;
      }
      const take = Math.min(buffer - before, rest);
      const address = this.#host(chain.addresses[i] + before);
      if (address === end && iovecs[base + (count - 1) * IOVEC_WORDS + 2] + take <= 0x7fff_0000) {
        iovecs[base + (count - 1) * IOVEC_WORDS + 2] += take;
      } else {
        const at = base + count * IOVEC_WORDS;
        iovecs[at] = address;
        iovecs[at + 1] = address / 2 ** 32;
        iovecs[at + 2] = take;
        iovecs[at + 3] = 0;
        count++;
      }
      end = address + take;
      before = 0;
      rest -= take;
    }
    this.first[slot] = 0;
    this.count[slot] = count;
  }

  #host(gpa: number): number {
    const starts = this.#starts;
    let i = 0;
    while (gpa >= this.#ends[i]) i++;
    return this.#hosts[i] + (gpa - starts[i]);
  }

  /** Address of the first iovec that is not done. */
  iovec(slot: number): number {
    return this.#memory.address + (slot * MAX_CHAIN + this.first[slot]) * IOVEC_SIZE;
  }

  /** Base and length of the first iovec that is not done: for transfers that have only one. */
  base(slot: number): number {
    const at = (slot * MAX_CHAIN + this.first[slot]) * IOVEC_WORDS;
    return this.#iovecs[at] + this.#iovecs[at + 1] * 2 ** 32;
  }
  length(slot: number): number {
    return this.#iovecs[(slot * MAX_CHAIN + this.first[slot]) * IOVEC_WORDS + 2];
  }

  /** Accounts for bytes that were transferred; true when the request is complete. */
  advance(slot: number, bytes: number): boolean {
    this.done[slot] += bytes;
    this.offset[slot] += bytes;
    if (this.done[slot] >= this.total[slot]) return true;
    let rest = bytes;
    while (rest > 0) {
      const at = (slot * MAX_CHAIN + this.first[slot]) * IOVEC_WORDS;
      const length = this.#iovecs[at + 2];
      if (rest < length) {
        const address = this.#iovecs[at] + this.#iovecs[at + 1] * 2 ** 32 + rest;
        this.#iovecs[at] = address;
        this.#iovecs[at + 1] = address / 2 ** 32;
        this.#iovecs[at + 2] = length - rest;
        break;
      }
      rest -= length;
      this.first[slot]++;
      this.count[slot]--;
    }
    return false;
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}
