/** The process on whose behalf a command runs: what it has, and how it is given a plan to execute in its own place. */
import { lstatSync } from 'node:fs';
import type { Plan } from '../plan/plan.js';
import { countDescriptors, type HandedDescriptors } from '../runtime/handed-descriptors.js';
import type { NamespaceType } from '../spec/namespaces.js';
import type { RemoteLaunch } from './remote-launch.js';

export interface Caller {
  readonly pid: number;
  readonly umask: number;
  readonly variables: Readonly<Record<string, string | undefined>>;
  /**
   * Makes the caller a launcher that waits for its plan and makes these namespaces meanwhile: from here on it is not sent the cold way.
   *
   * @param without of its streams it is to have no stdin (1), no stdout and stderr (2); of tvmm's client alone
   * @throws CallerGoneError
   */
  begin(namespaces: readonly NamespaceType[], without?: number): void;
  /**
   * Has the caller, which has begun, execute a plan, with the descriptors behind its control socket that the plan inherits from us.
   *
   * @throws CallerGoneError
   */
  execute(plan: Plan, descriptors?: readonly number[]): RemoteLaunch;
}

/** What only a process with the caller's own streams can do: it is sent the cold way. */
export class ColdError extends Error {}

/** As handedDescriptors of this process, for another one. @throws CreateError */
export function descriptorsOf(caller: Caller, preserveFds: number): HandedDescriptors {
  const { LISTEN_PID, LISTEN_FDS } = caller.variables;
  const open = (fd: number) =>
    lstatSync(`/proc/${caller.pid}/fd/${fd}`, { throwIfNoEntry: false }) !== undefined;
  return countDescriptors(preserveFds, LISTEN_PID === String(caller.pid) ? LISTEN_FDS : undefined, open);
}

/** Runs what makes files as the caller would make them. Nothing else runs meanwhile: it does not wait. */
export function withUmask<T>(caller: Caller, make: () => T): T {
  const own = process.umask(caller.umask);
  try {
    return make();
  } finally {
    process.umask(own);
  }
}
