/** Waiting for a container's end, whoever takes care of it: by its minder while there is one, by looking where there is none. */
import { delay } from '../../sys/time.js';
import type { EngineContext } from './context.js';
import { MinderClient } from './minder.js';
import { isAlive } from './process.js';
import type { ContainerRecord } from './record.js';
import { isSettled, settle } from './settle.js';

const POLL_MS = 100;

/** The record as it is now: settled by us when nobody else does. Undefined when the container is gone. */
export async function current(context: EngineContext, id: string): Promise<ContainerRecord | undefined> {
  const record = context.store.read(id);
  if (record === undefined) return undefined;
  if (isSettled(record)) return withoutRemains(context, record);
  const settled = await context.store
    .locked(id, (found) => settle(context, found))
    .catch((error: unknown) => {
      if (context.store.read(id) === undefined) return undefined;
      throw error;
    });
  return settled === undefined ? undefined : withoutRemains(context, settled);
}

/** A container that was to go with its end, and whoever was to see to that is gone first: so it goes now. */
async function withoutRemains(
  context: EngineContext,
  record: ContainerRecord,
): Promise<ContainerRecord | undefined> {
  if (record.state !== 'stopped' || !record.options.remove || isAlive(record.minder)) return record;
  const { removeContainer } = await import('./stop.js');
  await removeContainer(context, record.id).catch(() => {});
  return context.store.read(record.id);
}

/** Waits until a container does not run. @returns its exit status; undefined when it was removed and nobody saw it */
export async function waitForEnd(context: EngineContext, id: string): Promise<number | undefined> {
  for (;;) {
    const record = await current(context, id);
    if (record === undefined) return undefined;
    if (record.state === 'stopped') return record.exitCode;
    if (record.state === 'running' || record.state === 'paused') {
      const exitCode = await endByMinder(context.store.folder(id));
      if (exitCode !== undefined) return exitCode;
    }
    // Created and never started: docker waits as well.
    await delay(POLL_MS);
  }
}

async function endByMinder(folder: string): Promise<number | undefined> {
  try {
    using client = await MinderClient.connect(folder);
    return await client.ended;
  } catch {
    return undefined;
  }
}
