/**
 * What a start of the machine asks for: every container whose restart policy wants it to run is started, pods before their members. What was
 * running when the machine ended is found to have stopped (records hold the boot that they are of), and `--rm` containers among them go.
 */
import type { EngineContext } from './context.js';
import { ContainerNotFoundError } from './errors.js';
import { collectNetworksIfNeeded } from './prune.js';
import type { ContainerRecord } from './record.js';
import { endedRun, parseRestartPolicy, wantsStartAtBoot } from './restart.js';
import { settle } from './settle.js';
import { startContainer } from './start.js';
import { removeContainer } from './stop.js';

export interface StartedAtBoot {
  readonly name: string;
  /** Why it could not be. */
  readonly error?: unknown;
}

/** Starts them one after the other; one that fails keeps no other from it. Containers that run are left alone. */
export async function startAllRestarting(context: EngineContext): Promise<StartedAtBoot[]> {
  const done: StartedAtBoot[] = [];
  // Records of networks that a folder on a disk has kept over the boot; rules and links are gone with it.
  await collectNetworksIfNeeded(context);
  // The oldest first: what others join was made before them.
  for (const { id, name } of context.store.all().reverse()) {
    try {
      if (await startOne(context, id)) done.push({ name });
    } catch (error) {
      if (!(error instanceof ContainerNotFoundError)) done.push({ name, error });
    }
  }
  return done;
}

async function startOne(context: EngineContext, id: string): Promise<boolean> {
  const settled = await context.store.locked(id, async (found) => {
    const record = await settle(context, found);
    if (record.state !== 'stopped' || !wantsStart(record)) return record;
    return { ...(await startContainer(context, record)), wasStarted: true };
  });
  if (settled.state === 'stopped' && settled.options.remove) await removeContainer(context, id);
  return 'wasStarted' in settled;
}

function wantsStart(record: ContainerRecord): boolean {
  return wantsStartAtBoot(parseRestartPolicy(record.options.restart), endedRun(record));
}
