/**
 * A launch that a client executes in its own place (launch/launch.ts has the one that this process starts): the same protocol over a control
 * socket of its own, whose end tells that no process of the launch can say anything more.
 */
import type { FileDescriptor } from '../../sys/fd.js';
import { Readiness } from '../../sys/readiness.js';
import { receiveNow, sendAll } from '../../sys/socketpair.js';
import { TAG } from '../compile/tags.js';
import { encodeCancel, MESSAGE_SIZE } from '../launch/messages.js';
import { type LaunchEvent, LaunchProtocol } from '../launch/protocol.js';
import type { Plan } from '../plan/plan.js';

/** Pieces that are kept to be said again; no launch says so much before it fails. */
const MAX_SAID = 256;

const GRACE_MS = 200;

export class RemoteLaunch implements Disposable {
  readonly #protocol: LaunchProtocol;
  readonly #control: FileDescriptor;
  readonly #readiness: Readiness;
  readonly #queue: LaunchEvent[] = [];
  #wake: (() => void) | undefined;
  #over = false;
  /** Nobody waits for a word of ours any more. */
  #ended = false;
  #callerLeft = false;
  readonly #said: Uint8Array[] = [];

  /**
   * @param control our end, owned from now on
   * @param exact the plan with the right texts, where `plan` has others of the same shape
   */
  constructor(
    plan: Plan,
    control: FileDescriptor,
    readonly exact?: () => Plan,
  ) {
    this.#protocol = new LaunchProtocol(plan);
    this.#control = control;
    this.#readiness = new Readiness(control.fd, () => this.#read());
  }

  /** The process that executes the plan has done all that there was to do, and waits for no last word. */
  get callerLeft(): boolean {
    return this.#callerLeft;
  }

  /** The next thing that happens; `closed` is the last, and comes again if asked again. */
  async next(): Promise<LaunchEvent> {
    for (;;) {
      const event = this.#queue.shift();
      if (event?.kind === 'ended') this.#ended = true;
      if (event?.kind === 'ended' && event.tag === TAG.removed) this.#callerLeft = true;
      if (event !== undefined) return event;
      if (this.#over) return { kind: 'closed' };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Answers a receive step that waits for `tag`. A launch that is gone is told by its events, not here. */
  answer(tag: number, value = 0): void {
    if (this.#over || this.#protocol.done) return;
    try {
      sendAll(this.#control.fd, this.#protocol.answer(tag, value));
    } catch {
      // Its end is about to be read.
    }
  }

  /**
   * The process that executes it has been killed: others of the launch may wait for it for ever. What they have said by now still counts, and
   * what they say at once.
   */
  abandon(): void {
    setTimeout(() => this[Symbol.dispose](), GRACE_MS).unref();
  }

  #read(): void {
    let bytes: Uint8Array | undefined;
    try {
      bytes = receiveNow(this.#control.fd, 64 * MESSAGE_SIZE);
    } catch {
      bytes = new Uint8Array();
    }
    if (bytes === undefined) return;
    if (this.exact !== undefined && this.#said.length < MAX_SAID) this.#said.push(bytes);
    this.#queue.push(...this.#protocol.push(bytes).map((event) => this.#exactly(event)));
    if (bytes.length > 0) {
      this.#wake?.();
      return;
    }
    this.#ended = true;
    this[Symbol.dispose]();
  }

  /** A failure in the words of the exact plan: all that was said is said to another state machine again. */
  #exactly(event: LaunchEvent): LaunchEvent {
    if (event.kind !== 'failed' || this.exact === undefined) return event;
    const again = new LaunchProtocol(this.exact());
    return this.#said.flatMap((bytes) => again.push(bytes)).find(({ kind }) => kind === 'failed') ?? event;
  }

  [Symbol.dispose](): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#ended) setImmediate(() => this.#close());
    else {
      this.#cancel();
      this.#close();
    }
    this.#wake?.();
  }

  /** What still waits for us must not take our end for a failure of its own. */
  #cancel(): void {
    try {
      sendAll(this.#control.fd, encodeCancel());
    } catch {
      // There is nobody.
    }
  }

  #close(): void {
    this.#readiness[Symbol.dispose]();
    this.#control[Symbol.dispose]();
  }
}
