/**
 * Starts the launcher with a plan and talks to it, blocking: for commands that do nothing else meanwhile. What must not block uses
 * {@link LaunchProtocol} on a socket of its own.
 *
 * The launcher's descriptors: 0 to 2 the container's, then what the plan inherits by number, the plan itself as the last one. The launcher
 * closes all above it.
 */

import { SystemError } from '../../sys/errors.js';
import type { FileDescriptor } from '../../sys/fd.js';
import { sealedMemfd } from '../../sys/memfd.js';
import { createSocketpair, receiveNow, sendAll, waitReadable } from '../../sys/socketpair.js';
import { exitStatus, spawn, waitPid } from '../../sys/spawn.js';
import { encodePlan, PlanError } from '../plan/encode.js';
import { CONTROL, type Plan, type Register } from '../plan/plan.js';
import { describeWaitStatus, LauncherDiedError } from './errors.js';
import { launcherFile } from './launcher-file.js';
import { encodeCancel, MESSAGE_SIZE } from './messages.js';
import { type LaunchEvent, LaunchProtocol } from './protocol.js';

export interface LaunchOptions {
  /** Our descriptors that become the container's stdin, stdout and stderr; our own by default. */
  readonly stdio?: readonly [number, number, number];
  /** Our descriptors for the registers that the plan inherits, but for the control socket, which is made here. */
  readonly descriptors?: Readonly<Record<Register, number>>;
  /** Hands on our descriptors 3 to 2 + this number as they are: `--preserve-fds`. */
  readonly preserved?: number;
  /**
   * Words that stand before the launcher's own: a program that starts it, gives it stdin, stdout and stderr, leaves the other descriptors
   * alone and ends as it ends. The first word is an absolute path.
   */
  readonly under?: readonly string[];
}

/** How often a wait for messages looks whether the launcher lives. */
const LOOK_MS = 200;

/** Called for every `sent` and `ended` event; answers with {@link Launch.answer}. */
export type LaunchListener = (
  event: Extract<LaunchEvent, { kind: 'sent' | 'ended' }>,
  launch: Launch,
) => void;

/** A launcher that runs. Disposing ends a launch that is not over; {@link release} lets it live. */
export class Launch implements Disposable {
  readonly #protocol: LaunchProtocol;
  readonly #queue: LaunchEvent[] = [];
  #control: FileDescriptor | undefined;
  #waitStatus: number | undefined;
  #released = false;
  /** What the launcher supervised is over: nobody waits for anything any more. */
  #ended = false;

  private constructor(
    readonly pid: number,
    plan: Plan,
    control: FileDescriptor | undefined,
  ) {
    this.#protocol = new LaunchProtocol(plan);
    this.#control = control;
  }

  /**
   * Encodes the plan and starts it.
   *
   * @throws PlanError for a plan that cannot be encoded or asks for a descriptor that `options` does not give
   * @throws SystemError
   */
  static start(plan: Plan, options: LaunchOptions = {}): Launch {
    const bytes = encodePlan(plan);
    const descriptors = placeDescriptors(plan, options);
    const controlAt = plan.inherited[CONTROL];
    const pair = controlAt === undefined ? undefined : createSocketpair('the launcher’s control socket');
    try {
      using file = sealedMemfd('tvmm-plan', bytes, 'data');
      if (controlAt !== undefined && pair !== undefined) descriptors.set(controlAt, pair[1].fd);
      const planAt = Math.max(...descriptors.keys()) + 1;
      descriptors.set(planAt, file.fd);
      const [starter, ...words] = options.under ?? [];
      const pid = spawn({
        path: starter ?? programPath(planAt),
        argv:
          starter === undefined
            ? ['tvmm-launcher', `${planAt}`]
            : // The starter has no copy of our descriptor of the launcher.
              [starter, ...words, `/proc/${process.pid}/fd/${launcherFile().fd}`, `${planAt}`],
        environment: [],
        descriptors,
      });
      return new Launch(pid, plan, pair?.[0]);
    } catch (error) {
      pair?.[0][Symbol.dispose]();
      throw error;
    } finally {
      pair?.[1][Symbol.dispose]();
    }
  }

  /**
   * The next thing that happens; `closed` is the last, and comes at once for a plan without control socket.
   *
   * @param timeoutMs -1 waits as long as it takes
   * @returns undefined when the time is up
   */
  next(timeoutMs = -1): LaunchEvent | undefined {
    for (;;) {
      const event = this.#queue.shift();
      if (event !== undefined) {
        this.#ended ||= event.kind === 'ended';
        return event;
      }
      if (this.#control === undefined) return { kind: 'closed' };
      if (timeoutMs >= 0) {
        if (!waitReadable(this.#control.fd, timeoutMs)) return undefined;
      } else if (!waitReadable(this.#control.fd, LOOK_MS)) {
        const death = this.#death(this.#control.fd);
        if (death !== undefined) return { kind: 'failed', error: death };
        continue;
      }
      const bytes = receiveNow(this.#control.fd, 64 * MESSAGE_SIZE);
      if (bytes !== undefined) this.#queue.push(...this.#protocol.push(bytes));
      if (bytes?.length === 0) this.#closeControl();
    }
  }

  /** A launcher that was killed may leave processes that hold the socket, and have nothing more to say: waiting for them has no end. */
  #death(control: number): LauncherDiedError | undefined {
    const status = this.wait(false) ?? 0;
    if (status === 0 || waitReadable(control, 0)) return undefined;
    return new LauncherDiedError(`ended early (${describeWaitStatus(status)})`);
  }

  /** Answers a receive step that waits for `tag`. A launcher that is gone is told by its events, not here. */
  answer(tag: number, value = 0): void {
    if (this.#control === undefined || this.#protocol.done) return;
    try {
      sendAll(this.#control.fd, this.#protocol.answer(tag, value));
    } catch (error) {
      if (!(error instanceof SystemError && (error.code === 'EPIPE' || error.code === 'ECONNRESET')))
        throw error;
    }
  }

  /** The descriptor that is readable when {@link next} has something to tell: for an event loop. Undefined when all is told. */
  get controlFd(): number | undefined {
    return this.#control?.fd;
  }

  /** Waits for the launcher's end. @returns its wait status; undefined when `block` is false and it still runs */
  wait(block = true): number | undefined {
    this.#waitStatus ??= waitPid(this.pid, block);
    return this.#waitStatus;
  }

  /**
   * Hands all events to `listener` until the launcher has ended.
   *
   * @returns the launcher's exit status: of a plan that supervises, the container's
   * @throws LaunchError for a step that failed
   * @throws LauncherDiedError for a launcher that was killed or refused its plan
   */
  finish(listener: LaunchListener = () => {}): number {
    let ended = false;
    let failure: Error | undefined;
    for (;;) {
      const event = this.next();
      if (event === undefined || event.kind === 'closed') break;
      if (event.kind === 'failed') failure = event.error;
      else listener(event, this);
      if (event.kind === 'ended') ended = true;
    }
    const status = this.wait() ?? 0;
    if (failure !== undefined) throw failure;
    if (!ended && (exitStatus(status) === 125 || (status & 0x7f) !== 0))
      throw new LauncherDiedError(`ended early (${describeWaitStatus(status)})`);
    return exitStatus(status);
  }

  /** Lets the launcher go its way: disposing will not end it. */
  release(): void {
    this.#released = true;
    this.#closeControl();
  }

  [Symbol.dispose](): void {
    if (!this.#released) this.#cancel();
    this.#closeControl();
    if (this.#released || this.wait(false) !== undefined) return;
    process.kill(this.pid, 'SIGKILL');
    this.wait();
  }

  /** What still waits for us must not take our end for a failure of its own. */
  #cancel(): void {
    try {
      if (this.#control !== undefined && !this.#ended) sendAll(this.#control.fd, encodeCancel());
    } catch {
      // There is nobody.
    }
  }

  #closeControl(): void {
    this.#control?.[Symbol.dispose]();
    this.#control = undefined;
  }
}

/** The launcher's descriptors but for control socket and plan: its number -> ours. */
function placeDescriptors(plan: Plan, options: LaunchOptions): Map<number, number> {
  const [stdin, stdout, stderr] = options.stdio ?? [0, 1, 2];
  const placed = new Map([
    [0, stdin],
    [1, stdout],
    [2, stderr],
  ]);
  for (let fd = 3; fd < 3 + (options.preserved ?? 0); fd++) placed.set(fd, fd);
  for (const [register, at] of Object.entries(plan.inherited)) {
    if (register === CONTROL) continue;
    const ours = options.descriptors?.[register];
    if (ours === undefined)
      throw new PlanError(`nothing is handed over for register ${register} of the plan`);
    placed.set(at, ours);
  }
  return placed;
}

/** The sealed launcher as the new process finds it: by its own copy of our descriptor, unless one of the launcher's has its number. */
function programPath(lastUsed: number): string {
  const { fd } = launcherFile();
  return fd > lastUsed ? `/proc/self/fd/${fd}` : `/proc/${process.pid}/fd/${fd}`;
}
