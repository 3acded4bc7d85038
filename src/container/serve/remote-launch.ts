/**
 * A launch that a client executes in its own place (launch/launch.ts has the one that this process starts): the same protocol over a control
 * socket of its own, whose end tells that no process of the launch can say anything more.
 */
import type { FileDescriptor } from '../../sys/fd.js';
import { Readiness } from '../../sys/readiness.js';
import { receiveNow, sendAll } from '../../sys/socketpair.js';
import { MESSAGE_SIZE } from '../launch/messages.js';
import { type LaunchEvent, LaunchProtocol } from '../launch/protocol.js';
import type { Plan } from '../plan/plan.js';

export class RemoteLaunch implements Disposable {
  readonly #protocol: LaunchProtocol;
  readonly #control: FileDescriptor;
  readonly #readiness: Readiness;
  readonly #queue: LaunchEvent[] = [];
  #wake: (() => void) | undefined;
  #over = false;

  /** @param control our end, owned from now on */
  constructor(plan: Plan, control: FileDescriptor) {
    this.#protocol = new LaunchProtocol(plan);
    this.#control = control;
    this.#readiness = new Readiness(control.fd, () => this.#read());
  }

  /** The next thing that happens; `closed` is the last, and comes again if asked again. */
  async next(): Promise<LaunchEvent> {
    for (;;) {
      const event = this.#queue.shift();
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

  #read(): void {
    let bytes: Uint8Array | undefined;
    try {
      bytes = receiveNow(this.#control.fd, 64 * MESSAGE_SIZE);
    } catch {
      bytes = new Uint8Array();
    }
    if (bytes === undefined) return;
    this.#queue.push(...this.#protocol.push(bytes));
    if (bytes.length === 0) this[Symbol.dispose]();
    else this.#wake?.();
  }

  [Symbol.dispose](): void {
    if (this.#over) return;
    this.#over = true;
    this.#readiness[Symbol.dispose]();
    this.#control[Symbol.dispose]();
    this.#wake?.();
  }
}
