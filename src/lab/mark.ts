/**
 * Finds the mark that ends a stream from L1. A port has no end-of-file of its own, and control and data travel on
 * different ports: so the agent writes a random mark behind the last byte, and nothing is lost or added.
 */
import { randomBytes } from 'node:crypto';

/** A mark that no output contains by chance; safe as a shell word. */
export function randomMark(): string {
  return `tvmm-end-${randomBytes(16).toString('hex')}`;
}

/** Passes a stream through up to its mark. */
export class MarkFinder {
  readonly #mark: Buffer;
  #held: Buffer = Buffer.alloc(0);
  #found = false;

  constructor(mark: string) {
    this.#mark = Buffer.from(mark, 'latin1');
  }

  /** Whether the mark has come: nothing passes after it. */
  get found(): boolean {
    return this.#found;
  }

  /** The bytes of `chunk` (and of what was held back) that are certainly not of the mark. */
  pass(chunk: Buffer): Buffer {
    if (this.#found) return Buffer.alloc(0);
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const at = bytes.indexOf(this.#mark);
    if (at >= 0) {
      this.#found = true;
      this.#held = Buffer.alloc(0);
      return bytes.subarray(0, at);
    }
    const keep = this.#startOfMark(bytes);
    this.#held = Buffer.from(bytes.subarray(keep));
    return bytes.subarray(0, keep);
  }

  /** What was held back: output after all, where the stream ended without its mark. */
  rest(): Buffer {
    return this.#held;
  }

  /** Where a mark begins whose end has not come yet; the length of `bytes` where none does. */
  #startOfMark(bytes: Buffer): number {
    for (let at = Math.max(0, bytes.length - this.#mark.length + 1); at < bytes.length; at++) {
      if (this.#mark.subarray(0, bytes.length - at).equals(bytes.subarray(at))) return at;
    }
    return bytes.length;
  }
}
