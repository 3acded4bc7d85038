/** Runs a plan by the launcher and does what it asks for, blocking between its messages: for a command that does nothing else meanwhile. */
import { exitStatus } from '../../sys/spawn.js';
import { describeWaitStatus, LauncherDiedError } from '../launch/errors.js';
import { Launch } from '../launch/launch.js';
import type { LaunchEvent } from '../launch/protocol.js';
import type { Plan, Register } from '../plan/plan.js';

export type Stdio = readonly [number, number, number];

export interface DriveOptions {
  readonly stdio?: Stdio;
  readonly preserveFds?: number;
  /** What the launcher inherits besides its control socket: its number -> our descriptor. */
  readonly descriptors?: ReadonlyMap<number, number>;
  /** A program that starts the launcher: see LaunchOptions. */
  readonly under?: readonly string[];
}

/** Does what a `sent` event asks for; a number answers it. */
export type Handler = (tag: number, value: number) => Promise<number | undefined>;

export function startLaunch(
  plan: Plan,
  { stdio, preserveFds = 0, descriptors, under }: DriveOptions,
): Launch {
  // A plan may use a descriptor by its number alone: the launcher closes what no register names.
  const extra = Object.fromEntries([...(descriptors ?? [])].map(([at]) => [`descriptor-${at}`, at]));
  const inherited = { ...extra, ...plan.inherited };
  const byRegister: Record<Register, number> = {};
  for (const [register, at] of Object.entries(inherited)) {
    const ours = descriptors?.get(at);
    if (ours !== undefined) byRegister[register] = ours;
  }
  return Launch.start(
    { ...plan, inherited },
    {
      descriptors: byRegister,
      preserved: preserveFds,
      ...(stdio === undefined ? {} : { stdio }),
      ...(under === undefined ? {} : { under }),
    },
  );
}

/**
 * Handles events until `done` says that it is enough or nobody of the launch is left who could tell more.
 *
 * @throws LaunchError, LauncherDiedError, and what the handler throws
 */
export async function driveUntil(
  launch: Launch,
  handle: Handler,
  done: (event: LaunchEvent) => boolean,
): Promise<void> {
  for (;;) {
    const event = launch.next();
    if (event === undefined || event.kind === 'closed') return;
    if (event.kind === 'failed') {
      launch.wait();
      throw event.error;
    }
    if (event.kind === 'sent') {
      const answer = await handle(event.tag, event.value);
      if (answer !== undefined) launch.answer(event.tag, answer);
    }
    if (done(event)) return;
  }
}

/** Waits for a launcher that has nothing more to do. @throws LaunchError, LauncherDiedError */
export function expectLeft(launch: Launch): void {
  const status = launch.wait() ?? 0;
  if (status === 0) return;
  for (let event = launch.next(0); event !== undefined && event.kind !== 'closed'; event = launch.next(0))
    if (event.kind === 'failed') throw event.error;
  throw new LauncherDiedError(`ended early (${describeWaitStatus(status)})`);
}

/** The launcher's exit status: the container's, of a plan that supervises. */
export function finalStatus(launch: Launch): number {
  return exitStatus(launch.wait() ?? 0);
}
