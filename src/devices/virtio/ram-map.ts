/**
 * Guest RAM as a virtqueue's hot path sees it: numbers and typed arrays that are made once, so that checking a buffer or reading an indirect
 * descriptor table neither allocates nor looks anything up. One map serves all queues of a machine.
 */
import type { Gpa, GuestRam } from '../../memory/types.js';

/** Views are cut here, as GuestMemory's are: no ArrayBuffer can be much larger. */
const CHUNK = 2 ** 30;

const maps = new WeakMap<GuestRam, RamMap>();

/** The start of a gigabyte's view and the words from there on. */
export interface RamWords {
  readonly gpa: Gpa;
  readonly words: Uint32Array;
}

export class RamMap {
  readonly #count: number;
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  readonly #writable: Uint8Array;
  /** By gigabyte; where two regions share one, the first is here. */
  readonly #words: (RamWords | undefined)[] = [];

  /** The map of `ram`, made at the first call. */
  static of(ram: GuestRam): RamMap {
    let map = maps.get(ram);
    if (map === undefined) {
      map = new RamMap(ram);
      maps.set(ram, map);
    }
    return map;
  }

  private constructor(ram: GuestRam) {
    this.#count = ram.ranges.length;
    this.#starts = Float64Array.from(ram.ranges, (range) => range.gpa);
    this.#ends = Float64Array.from(ram.ranges, (range) => range.gpa + range.size);
    this.#writable = Uint8Array.from(ram.ranges, (range) => (range.readOnly ? 0 : 1));
    for (const { gpa: start, size } of ram.ranges) {
      for (let gpa = start; gpa < start + size; ) {
        const gigabyte = Math.floor(gpa / CHUNK);
        const end = Math.min((gigabyte + 1) * CHUNK, start + size);
        const bytes = ram.bytes(gpa, end - gpa);
        if (bytes.byteOffset % 4 === 0 && gpa % 4 === 0) {
          const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
          this.#words[gigabyte] ??= { gpa, words };
        }
        gpa = end;
      }
    }
  }

  /** Whether the range lies in one region of RAM, a writable one if it is to be written. */
  holds(gpa: Gpa, length: number, write: boolean): boolean {
    for (let i = 0; i < this.#count; i++) {
      if (gpa >= this.#starts[i] && gpa + length <= this.#ends[i]) return !write || this.#writable[i] === 1;
    }
    return false;
  }

  /** The view that holds the whole range, which must be RAM; undefined where none does or the range is not aligned. */
  wordsAt(gpa: Gpa, length: number): RamWords | undefined {
    const chunk = this.#words[Math.floor(gpa / CHUNK)];
    if (chunk === undefined || gpa % 4 !== 0) return undefined;
    return gpa >= chunk.gpa && gpa - chunk.gpa + length <= chunk.words.length * 4 ? chunk : undefined;
  }
}
