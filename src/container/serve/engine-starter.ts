/** What the engine's operations start, as descendants of a client of `tvmm`: runtime/create.ts and exec.ts do the same in a process of their own. */
import type { EngineRuntime } from '../engine/context.js';
import { describeWaitStatus, LauncherDiedError } from '../launch/errors.js';
import { checkTerminal } from '../runtime/create.js';
import { prepareCreate } from '../runtime/prepare.js';
import type { Runtime } from '../runtime/runtime.js';
import { layout } from './create.js';
import { driveUntil } from './drive.js';
import type { Errands } from './errand.js';
import { execFor } from './exec.js';
import type { RemoteLaunch } from './remote-launch.js';
import type { Client } from './session.js';

/** @param beforeStart called when the client is about to do what nobody can take back; with true when it becomes the launcher itself */
export function engineStarter(
  client: Client,
  errands: Errands,
  beforeStart: (launched: boolean) => void,
): (runtime: Runtime) => Pick<EngineRuntime, 'create' | 'exec'> {
  return (runtime) => ({
    async create(id, bundle, { under, consoleSocket }) {
      const environment = { ...runtime.environment, caller: client.pid, layout };
      const prepared = await prepareCreate(environment, id, {
        bundle,
        waitForStart: true,
        console: (terminal) => {
          checkTerminal(terminal, true, consoleSocket);
          return terminal && consoleSocket !== undefined ? { path: consoleSocket } : undefined;
        },
      });
      try {
        beforeStart(false);
        const { launch: launched, ended } = errands.spawn(prepared.plan, under);
        using launch = launched;
        // Killed, it may leave processes that hold the socket, and have nothing more to say.
        void ended.then(
          (status) => status !== 0 && launch.abandon(),
          () => launch.abandon(),
        );
        prepared.furnish((tag) => launch.answer(tag));
        await driveUntil(
          launch,
          (tag, value) => prepared.handle(tag, value),
          () => prepared.ready,
        );
        await expectLeft(launch, await ended);
        return prepared.commit().init?.pid ?? 0;
      } catch (error) {
        await prepared.rollback();
        throw error;
      }
    },
    exec(id, choose, { detach, stdio }) {
      // No stdin, and nothing at all in the background.
      const without = (stdio?.[0] === 0 ? 0 : 1) | (detach ? 2 : 0);
      const caller = {
        ...client,
        begin: () => {
          beforeStart(true);
          client.begin([], without);
        },
        execute: (...[plan, descriptors = []]: Parameters<Parameters<typeof execFor>[0]['execute']>) =>
          client.execute(plan, descriptors, ''),
      };
      return execFor(caller, runtime, id, choose, { detach });
    },
  });
}

/** As runtime/drive.ts has it. @throws LaunchError, LauncherDiedError */
async function expectLeft(launch: RemoteLaunch, waitStatus: number): Promise<void> {
  if (waitStatus === 0) return;
  for (;;) {
    const event = await launch.next();
    if (event.kind === 'failed') throw event.error;
    if (event.kind === 'closed') break;
  }
  throw new LauncherDiedError(`ended early (${describeWaitStatus(waitStatus)})`);
}
