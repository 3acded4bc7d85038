/**
 * What follows the end of a container: the program that its minder becomes. Takes the run down, then removes the container (`--rm`) or starts it
 * again as its restart policy says. Only the minder of the run that has ended does this; when the user was faster, nothing is left to do.
 */
import { delay } from '../../sys/time.js';
import type { EngineContext } from './context.js';
import { ContainerNotFoundError } from './errors.js';
import type { ContainerRecord } from './record.js';
import { endedRun, parseRestartPolicy, restartPause, shouldRestart } from './restart.js';
import { settle } from './settle.js';
import { startContainer } from './start.js';
import { removeContainer } from './stop.js';

function ranMs({ started, finished }: ContainerRecord): number {
  return started === undefined || finished === undefined ? 0 : Date.parse(finished) - Date.parse(started);
}

function wantsRestart(record: ContainerRecord): boolean {
  return shouldRestart(parseRestartPolicy(record.options.restart), endedRun(record));
}

/**
 * @param pid of the minder, which is this process
 * @param id of the container
 */
export async function afterEnd(context: EngineContext, id: string, pid: number): Promise<void> {
  try {
    const ended = await context.store.locked(id, async (found) => {
      if (found.minder?.pid !== pid) return undefined;
      return settle(context, found);
    });
    if (ended === undefined || ended.state !== 'stopped') return;
    if (ended.options.remove) return await removeContainer(context, id);
    await restart(context, ended);
  } catch (error) {
    // Removed by somebody else: that is an end as well.
    if (!(error instanceof ContainerNotFoundError)) throw error;
  }
}

/** Tries until a start succeeds, the policy has had enough, or somebody else does something with the container. */
async function restart(context: EngineContext, ended: ContainerRecord): Promise<void> {
  for (let last = ended; wantsRestart(last); ) {
    await delay(restartPause(last.restarts, ranMs(last)));
    const next = await context.store.locked(last.id, async (found) => {
      const untouched =
        found.state === 'stopped' && found.finished === last.finished && found.restarts === last.restarts;
      if (!untouched || !wantsRestart(found)) return undefined;
      try {
        await startContainer(context, found, { byPolicy: true });
        return undefined;
      } catch (error) {
        context.warn(error instanceof Error ? error.message : String(error));
        return context.store.read(last.id);
      }
    });
    if (next === undefined) return;
    last = next;
  }
}
