/** The process on whose behalf a command runs: what it has, and how it is given a plan to execute in its own place. */
import { lstatSync } from 'node:fs';
import type { Plan } from '../plan/plan.js';
import { CreateError } from '../runtime/errors.js';
import type { NamespaceType } from '../spec/namespaces.js';
import type { RemoteLaunch } from './remote-launch.js';

export interface Caller {
  readonly pid: number;
  readonly umask: number;
  readonly variables: Readonly<Record<string, string | undefined>>;
  /**
   * Makes the caller a launcher that waits for its plan and makes these namespaces meanwhile: from here on it is not sent the cold way.
   *
   * @throws CallerGoneError
   */
  begin(namespaces: readonly NamespaceType[]): void;
  /**
   * Has the caller, which has begun, execute a plan, with the descriptors behind its control socket that the plan inherits from us.
   *
   * @throws CallerGoneError
   */
  execute(plan: Plan, descriptors?: readonly number[]): RemoteLaunch;
}

/** What only a process with the caller's own streams can do: it is sent the cold way. */
export class ColdError extends Error {}

/** As handedDescriptors of runtime/create.ts, for another process. @throws CreateError */
export function descriptorsOf(caller: Caller, preserveFds: number): { count: number; environment: string[] } {
  const { LISTEN_PID, LISTEN_FDS } = caller.variables;
  const listening = LISTEN_PID === String(caller.pid) ? Number.parseInt(LISTEN_FDS ?? '0', 10) || 0 : 0;
  if (preserveFds < 0) throw new CreateError(`--preserve-fds ${preserveFds} is no number of descriptors`);
  const count = listening + preserveFds;
  for (let fd = 3; fd < 3 + count; fd++) {
    if (lstatSync(`/proc/${caller.pid}/fd/${fd}`, { throwIfNoEntry: false }) === undefined)
      throw new CreateError(
        `unable to stat preserved-fd ${fd - 3} (of ${count}): descriptor ${fd} is not open`,
      );
  }
  return { count, environment: listening > 0 ? [`LISTEN_FDS=${listening}`, 'LISTEN_PID=1'] : [] };
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
