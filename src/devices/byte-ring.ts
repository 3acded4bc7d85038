/** A bounded queue of bytes inside a device's state. Its users hold the device's lock. */
import type { StateWindow } from './state.js';

/** Words that a ring of `capacity` bytes takes. */
export function ringWords(capacity: number): number {
  return 2 + capacity / 4;
}

export class ByteRing {
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;

  /** @param firstWord where it lies in the window @param capacity bytes, a power of two */
  constructor(
    state: StateWindow,
    firstWord: number,
    readonly capacity: number,
  ) {
    this.#words = state.u32.subarray(firstWord, firstWord + 2);
    this.#bytes = state.u8.subarray((firstWord + 2) * 4, (firstWord + 2) * 4 + capacity);
  }

  get length(): number {
    return this.#words[1];
  }

  get room(): number {
    return this.capacity - this.length;
  }

  /** Appends one byte; false when the ring is full. */
  push(byte: number): boolean {
    const length = this.length;
    if (length === this.capacity) return false;
    this.#bytes[(this.#words[0] + length) & (this.capacity - 1)] = byte;
    this.#words[1] = length + 1;
    return true;
  }

  /** Takes the oldest byte; undefined when there is none. */
  shift(): number | undefined {
    if (this.length === 0) return undefined;
    const byte = this.#bytes[this.#words[0]];
    this.drop(1);
    return byte;
  }

  /** Copies the oldest bytes into `target` without taking them. Returns how many. */
  peek(target: Uint8Array): number {
    const count = Math.min(target.length, this.length);
    const start = this.#words[0];
    const first = Math.min(count, this.capacity - start);
    target.set(this.#bytes.subarray(start, start + first));
    target.set(this.#bytes.subarray(0, count - first), first);
    return count;
  }

  /** Forgets the oldest `count` bytes, at most all. */
  drop(count: number): void {
    const taken = Math.min(count, this.length);
    this.#words[0] = (this.#words[0] + taken) & (this.capacity - 1);
    this.#words[1] -= taken;
  }
}
