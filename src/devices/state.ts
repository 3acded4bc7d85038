/**
 * Device state in shared memory (design.md section 3).
 *
 * Each machine has one SharedArrayBuffer. Every thread builds the same device tree, in the same order, over the same bytes: a device
 * claims its {@link StateWindow} in its constructor and keeps every guest-visible register there. So any thread may answer an access, and
 * a copy of the bytes is a snapshot. Word 0 of each window is the device's lock.
 */

/** Bytes of a machine's state; pages that no device claims are never touched. */
export const STATE_SIZE = 2 ** 20;
const ALIGNMENT = 64;
const LOCK = 0;
const SPINS = 200;

/** Hands out windows, first come first served: the order of construction is the layout. */
export class StateArena {
  #next = 0;

  constructor(readonly buffer: SharedArrayBuffer = new SharedArrayBuffer(STATE_SIZE)) {}

  /** Claims `words` 32-bit words for a device. @throws RangeError when the machine has too many devices */
  claim(name: string, words: number): StateWindow {
    const length = Math.ceil(((words + 1) * 4) / ALIGNMENT) * ALIGNMENT;
    if (this.#next + length > this.buffer.byteLength)
      throw new RangeError(`no room left for the state of ${name}`);
    const window = new StateWindow(this.buffer, this.#next, words, name);
    this.#next += length;
    return window;
  }
}

/** One device's registers: `words` 32-bit cells, seen as signed, unsigned and bytes, and a lock. */
export class StateWindow {
  readonly #lock: Int32Array;
  /** The cells, for plain and Atomics access. */
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly u8: Uint8Array;

  constructor(
    buffer: SharedArrayBuffer,
    offset: number,
    readonly words: number,
    readonly name: string,
  ) {
    this.#lock = new Int32Array(buffer, offset, 1);
    this.i32 = new Int32Array(buffer, offset + 4, words);
    this.u32 = new Uint32Array(buffer, offset + 4, words);
    this.u8 = new Uint8Array(buffer, offset + 4, words * 4);
  }

  /**
   * Takes the device's lock: spins shortly, then sleeps. Not re-entrant. Critical sections are short and never wait for another
   * thread's answer. Lock word: 0 free, 1 held, 2 held with sleepers.
   */
  lock(): void {
    for (let spin = 0; spin < SPINS; spin++) {
      if (Atomics.compareExchange(this.#lock, LOCK, 0, 1) === 0) return;
    }
    while (Atomics.exchange(this.#lock, LOCK, 2) !== 0) Atomics.wait(this.#lock, LOCK, 2);
  }

  unlock(): void {
    if (Atomics.exchange(this.#lock, LOCK, 0) === 2) Atomics.notify(this.#lock, LOCK, 1);
  }

  /** Runs `body` under the lock. */
  locked<T>(body: () => T): T {
    this.lock();
    try {
      return body();
    } finally {
      this.unlock();
    }
  }
}
