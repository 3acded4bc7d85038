/**
 * The wire behind a UART's transmitter: a bounded ring in shared state that drains into a file descriptor.
 *
 * write(2) may block for as long as a terminal is stopped, so the device's lock is let go around it: registers and input stay alive, and a
 * kick (EINTR) brings the thread back with the bytes still in the ring. A descriptor that would block keeps them there too; a
 * broken one (EPIPE, EIO…) discards from then on, as an unplugged cable does.
 */
import { constants } from 'node:os';
import { lastErrno, write } from '../sys/libc.js';
import { ByteRing, ringWords } from './byte-ring.js';
import type { StateWindow } from './state.js';

const CAPACITY = 16384;
const FLUSHING = 0;
const BROKEN = 1;
const RING = 2;
/** Words that the output takes in the device's state. */
export const OUTPUT_WORDS = RING + ringWords(CAPACITY);

const { EAGAIN, EINTR } = constants.errno;

/** All methods but {@link pause} are called under the device's lock. */
export class SerialOutput {
  readonly #state: StateWindow;
  readonly #words: Uint32Array;
  readonly #ring: ByteRing;
  /** koffi needs memory of this thread's own. */
  readonly #chunk = new Uint8Array(4096);
  readonly #sleep = new Int32Array(new SharedArrayBuffer(4));

  /** @param fd negative discards everything */
  constructor(
    state: StateWindow,
    firstWord: number,
    private readonly fd: number,
  ) {
    this.#state = state;
    this.#words = state.u32.subarray(firstWord, firstWord + RING);
    this.#ring = new ByteRing(state, firstWord + RING, CAPACITY);
  }

  /** Bytes not yet written to the descriptor. */
  get length(): number {
    return this.#ring.length;
  }

  /** The descriptor's other end is gone; everything is discarded. */
  get broken(): boolean {
    return this.#words[BROKEN] !== 0;
  }

  get room(): number {
    return this.#ring.room;
  }

  /** Appends one byte; when even the ring is full it is lost, as in an overrun transmitter. */
  push(byte: number): void {
    if (this.fd >= 0 && this.#words[BROKEN] === 0) this.#ring.push(byte);
  }

  /**
   * Writes what is there now. Another thread's flush in progress takes care of it instead.
   *
   * @param force also when a thread that flushes may have died
   */
  flush(force = false): void {
    if (this.#ring.length === 0 || (this.#words[FLUSHING] !== 0 && !force)) return;
    this.#words[FLUSHING] = 1;
    let rest = this.#ring.length;
    while (rest > 0) {
      const written = this.#writeChunk(Math.min(rest, this.#chunk.length));
      if (written <= 0) break;
      this.#ring.drop(written);
      rest -= written;
    }
    this.#words[FLUSHING] = 0;
  }

  /** Returns the bytes written; 0 when it is to be tried again later, or never. */
  #writeChunk(limit: number): number {
    const count = this.#ring.peek(this.#chunk.subarray(0, limit));
    this.#state.unlock();
    const written = write(this.fd, this.#chunk, count);
    const errno = written < 0 ? lastErrno() : 0;
    this.#state.lock();
    if (written >= 0) return written;
    if (errno !== EAGAIN && errno !== EINTR) {
      this.#words[BROKEN] = 1;
      this.#ring.drop(this.#ring.length);
    }
    return 0;
  }

  /** Lets a guest that polls a full transmitter wait for a millisecond, outside the lock. */
  pause(): void {
    this.#state.unlock();
    Atomics.wait(this.#sleep, 0, 0, 1);
    this.#state.lock();
  }
}
