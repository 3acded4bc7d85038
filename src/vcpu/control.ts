/**
 * The control block that the control thread and the vCPU threads share: requests, states, thread ids, exit counts.
 *
 * Pause, resume and stop work so: the requester stores the request, sets `immediate_exit` in the vCPU's kvm_run, and kicks the thread.
 * The thread clears `immediate_exit` after an EINTR and only then looks at the request; so a request made at any moment is seen,
 * either before KVM_RUN or by an immediate EINTR.
 */

/** What a vCPU is asked to do. */
export enum Request {
  Run = 0,
  Pause = 1,
  Stop = 2,
}

/** What a vCPU does. */
export enum State {
  Starting = 0,
  Running = 1,
  Paused = 2,
  Stopped = 3,
}

enum Word {
  Request = 0,
  State = 1,
  ThreadId = 2,
  /** Float64 at words 4 and 5: epoch milliseconds just before the first KVM_RUN. */
  FirstEntry = 4,
  /** Exit counts by KVM_EXIT_* reason. */
  Counts = 8,
}
const WORDS = 64;
/** Exit reasons at or above this are counted together in the last cell. */
const REASONS = WORDS - Word.Counts;

/** One vCPU's part of the control block. */
export class VcpuControl {
  readonly #words: Int32Array;
  readonly #firstEntry: Float64Array;
  /** Exit counts by reason; written by the vCPU's thread alone. */
  readonly counts: Uint32Array;

  static bufferFor(cpus: number): SharedArrayBuffer {
    return new SharedArrayBuffer(cpus * WORDS * 4);
  }

  constructor(buffer: SharedArrayBuffer, index: number) {
    const offset = index * WORDS * 4;
    this.#words = new Int32Array(buffer, offset, WORDS);
    this.#firstEntry = new Float64Array(buffer, offset + Word.FirstEntry * 4, 1);
    this.counts = new Uint32Array(buffer, offset + Word.Counts * 4, REASONS);
  }

  get request(): Request {
    return Atomics.load(this.#words, Word.Request);
  }
  /**
   * Whether anything but running is asked: a plain read, since this is on the path of every exit, where Atomics cost as much as all the
   * rest. It may come late; the EINTR that `immediate_exit` brings comes in any case.
   */
  get hasRequest(): boolean {
    return this.#words[Word.Request] !== Request.Run;
  }
  /** A stop is final: no later request replaces it. */
  setRequest(request: Request): void {
    for (;;) {
      const current = Atomics.load(this.#words, Word.Request);
      if (current === Request.Stop) return;
      if (Atomics.compareExchange(this.#words, Word.Request, current, request) === current) break;
    }
    Atomics.notify(this.#words, Word.Request);
  }
  /** Sleeps while the request is Pause. For the vCPU's thread. */
  waitWhilePaused(): void {
    Atomics.wait(this.#words, Word.Request, Request.Pause);
  }

  get state(): State {
    return Atomics.load(this.#words, Word.State);
  }
  setState(state: State): void {
    Atomics.store(this.#words, Word.State, state);
    Atomics.notify(this.#words, Word.State);
  }
  /** Resolves when the state is no longer `from`, or after the time-out; for the control thread. */
  async stateChange(from: State, timeoutMs: number): Promise<void> {
    const wait = Atomics.waitAsync(this.#words, Word.State, from, timeoutMs);
    if (wait.async) await wait.value;
  }

  get threadId(): number {
    return Atomics.load(this.#words, Word.ThreadId);
  }
  set threadId(id: number) {
    Atomics.store(this.#words, Word.ThreadId, id);
  }

  /** Epoch milliseconds of the first KVM_RUN; 0 before it. */
  get firstEntry(): number {
    return this.#firstEntry[0];
  }
  set firstEntry(epochMs: number) {
    this.#firstEntry[0] = epochMs;
  }

  count(reason: number): void {
    this.counts[reason < REASONS ? reason : REASONS - 1]++;
  }
}
