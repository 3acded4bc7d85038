/** Changes to a container that runs on: pause, unpause, restart, update. */
import type { EngineContext } from './context.js';
import { OptionError } from './errors.js';
import { note } from './events.js';
import type { ContainerOptions } from './options/options.js';
import { limitsOf } from './options/resources.js';
import { refreshPeers } from './peers.js';
import type { ContainerRecord } from './record.js';
import { parseRestartPolicy } from './restart.js';
import { settle } from './settle.js';
import { refuse, startContainer } from './start.js';
import { stopContainer } from './stop.js';

/** @throws ContainerStateError */
export async function pauseContainer(
  context: EngineContext,
  id: string,
  pause: boolean,
): Promise<ContainerRecord> {
  return context.store.locked(id, async (found) => {
    const record = await settle(context, found);
    refuse(record, pause ? 'pause' : 'unpause');
    if (pause) await context.runtime.pause(id);
    else await context.runtime.resume(id);
    const changed: ContainerRecord = { ...record, state: pause ? 'paused' : 'running' };
    context.store.write(changed);
    note(context.paths, pause ? 'pause' : 'unpause', changed);
    return changed;
  });
}

/** Stops the container if it runs, and starts it. @throws ContainerStateError, StartError */
export async function restartContainer(
  context: EngineContext,
  id: string,
  options: { readonly timeout?: number | undefined } = {},
): Promise<ContainerRecord> {
  const before = await context.store.locked(id, (found) => settle(context, found));
  refuse(before, 'restart');
  if (before.options.remove && before.state !== 'created' && before.state !== 'stopped')
    throw new OptionError(
      '--rm',
      `container ${before.name} goes away when it ends, so it cannot be restarted`,
    );
  await stopContainer(context, id, options);
  const record = await context.store.locked(id, (found) => startContainer(context, found));
  note(context.paths, 'restart', record);
  return record;
}

export type LimitOptions = Parameters<typeof limitsOf>[0] & Partial<Pick<ContainerOptions, 'restart'>>;

/** Changes limits and the restart policy, of a running container at once. @throws OptionError, CgroupLimitError */
export async function updateContainer(
  context: EngineContext,
  id: string,
  change: LimitOptions,
): Promise<ContainerRecord> {
  if (change.restart !== undefined) parseRestartPolicy(change.restart);
  const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
  if (Object.keys(given).length === 0)
    throw new OptionError('update', 'there is nothing to change', 'for instance --memory 512m');
  return context.store.locked(id, async (found) => {
    const record = await settle(context, found);
    const options: ContainerOptions = { ...record.options, ...given };
    // Checked against what the container has already: --memory and --memory-swap belong together.
    const limits = limitsOf(options);
    if (record.options.remove && options.restart !== 'no')
      throw new OptionError('--restart', 'cannot be combined with --rm');
    if (record.state === 'running' || record.state === 'paused') await context.runtime.update(id, limits);
    const changed = { ...record, options };
    context.store.write(changed);
    note(context.paths, 'update', changed);
    return changed;
  });
}

/** @throws ContainerNameError when the name is taken */
export async function renameContainer(
  context: EngineContext,
  id: string,
  name: string,
): Promise<ContainerRecord> {
  return context.store.locked(id, async (found) => {
    const record = await settle(context, found);
    const renamed = await context.store.rename(record, name);
    note(context.paths, 'rename', renamed, { oldName: record.name });
    await refreshPeers(context, renamed.interfaces);
    return renamed;
  });
}
