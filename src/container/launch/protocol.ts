/**
 * What a launch says, as a state machine without I/O: bytes from the control socket in, events out. The first failure counts; what other
 * processes of the launch say after it is only its echo. A launcher that says what no launcher says ends the launch.
 */
import type { Plan } from '../plan/plan.js';
import { LaunchError, LauncherDiedError } from './errors.js';
import { decodeMessage, encodeAnswer, MESSAGE, MESSAGE_SIZE, type Message } from './messages.js';

export type LaunchEvent =
  /** A send step: `value` of its register, 0 without one. */
  | { readonly kind: 'sent'; readonly program: string; readonly tag: number; readonly value: number }
  /** A supervise step's child has ended. */
  | { readonly kind: 'ended'; readonly program: string; readonly tag: number; readonly waitStatus: number }
  /** A step failed; comes at most once. */
  | { readonly kind: 'failed'; readonly error: LaunchError | LauncherDiedError }
  /** No process of the launch holds the control socket any more: all have ended or become other programs. The last event. */
  | { readonly kind: 'closed' };

/** A hook's output that is kept for the error, in bytes. */
const MAX_OUTPUT = 1024;

export class LaunchProtocol {
  #pending = new Uint8Array();
  readonly #output = new Map<number, Uint8Array[]>();
  #failed = false;
  #closed = false;

  constructor(readonly plan: Plan) {}

  /** Whether the launch has failed or is over: there is nobody to answer. */
  get done(): boolean {
    return this.#failed || this.#closed;
  }

  /** Takes bytes as they come, in pieces of any size; none at all is the end of the stream. */
  push(bytes: Uint8Array): LaunchEvent[] {
    if (this.#closed) return [];
    if (bytes.length === 0) {
      this.#closed = true;
      return [{ kind: 'closed' }];
    }
    const all = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const events: LaunchEvent[] = [];
    let at = 0;
    for (; at + MESSAGE_SIZE <= all.length; at += MESSAGE_SIZE) {
      const event = this.#take(decodeMessage(all.subarray(at, at + MESSAGE_SIZE)));
      if (event !== undefined) events.push(event);
    }
    this.#pending = new Uint8Array(all.subarray(at));
    return events;
  }

  /** The bytes of an answer to a receive step that waits for `tag` from the engine. */
  answer(tag: number, value = 0): Uint8Array {
    return encodeAnswer(tag, value);
  }

  #take(message: Message): LaunchEvent | undefined {
    const program = this.plan.programs[message.program];
    if (program?.steps[message.step] === undefined) return this.#nonsense();
    const { name } = program;
    switch (message.type) {
      case MESSAGE.sent:
        return { kind: 'sent', program: name, tag: message.tag, value: message.value };
      case MESSAGE.ended:
        return { kind: 'ended', program: name, tag: message.tag, waitStatus: message.value };
      case MESSAGE.text:
        this.#keep(message);
        return undefined;
      case MESSAGE.failed: {
        const output = Buffer.concat(this.#output.get(message.program) ?? []).toString();
        const { program, step, errno, value: waitStatus } = message;
        const error = LaunchError.of(this.plan, { program, step, errno, waitStatus, output });
        return error === undefined ? this.#nonsense() : this.#fail(error);
      }
      default:
        return this.#nonsense();
    }
  }

  #keep({ program, text }: Message): void {
    const pieces = this.#output.get(program) ?? [];
    if (pieces.length * MESSAGE_SIZE < MAX_OUTPUT) pieces.push(new Uint8Array(text));
    this.#output.set(program, pieces);
  }

  #nonsense(): LaunchEvent | undefined {
    return this.#fail(new LauncherDiedError('says what its plan does not know'));
  }

  #fail(error: LaunchError | LauncherDiedError): LaunchEvent | undefined {
    if (this.#failed) return undefined;
    this.#failed = true;
    return { kind: 'failed', error };
  }
}
