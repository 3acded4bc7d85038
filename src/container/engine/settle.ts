/**
 * Brings a record in line with what is really there: a container whose init is gone is taken down and marked as stopped, one whose minder
 * was killed gets another, what a killed start has left is cleared away. Every command does this first, so that nothing depends on
 * anybody having survived. The caller holds the container's lock.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { delay } from '../../sys/time.js';
import type { EngineContext } from './context.js';
import { note } from './events.js';
import { minderOptions } from './log-options.js';
import { adopt, CONSOLE_SOCKET, type ExitRecord, MINDER_SOCKET, MinderClient, readExit } from './minder.js';
import { refreshPeers } from './peers.js';
import { identify, isAlive, isOfEarlierBoot } from './process.js';
import type { ContainerRecord } from './record.js';
import { rootlessFacts } from './rootless.js';
import { userNetworkFile } from './user-tools.js';

/** The minder drains pipes and syncs a file between init's end and its record. */
const EXIT_RECORD_MS = 6000;

/** Whether the record can be believed as it stands, without the lock: nothing is under way and who should live lives. */
export function isSettled(record: ContainerRecord): boolean {
  if (record.starting) return false;
  if (record.state !== 'running' && record.state !== 'paused') return true;
  return isAlive(record.init) && isAlive(record.minder);
}

/** @returns the record as it is now, written if it changed */
export async function settle(context: EngineContext, found: ContainerRecord): Promise<ContainerRecord> {
  if (found.starting && !hasRun(context, found)) return abandonStart(context, found);
  const record = found.starting ? await completeStart(context, found) : found;
  if (record.state !== 'running' && record.state !== 'paused') return record;
  if (!isAlive(record.init)) return finalize(context, record);
  if (!isAlive(record.minder)) return adoptOrphan(context, record);
  return record;
}

/** Whether the program of a start that was killed runs, or ran: what waits to be released is killed by abandonStart alone. */
function hasRun(context: EngineContext, { id, init }: ContainerRecord): boolean {
  if (init === undefined) return false;
  if (!isAlive(init)) return true;
  try {
    return !['creating', 'created'].includes(context.runtime.status(id));
  } catch {
    return false;
  }
}

/** The program runs: says so. By the start itself, or for one that was killed before it could. */
export async function completeStart(
  context: EngineContext,
  record: ContainerRecord,
): Promise<ContainerRecord> {
  const running: ContainerRecord = {
    ...record,
    starting: false,
    state: 'running',
    started: new Date().toISOString(),
    oomKilled: false,
  };
  context.store.write(running);
  note(context.paths, 'start', running);
  await refreshPeers(context, running.interfaces);
  return running;
}

/** The start was killed before: whatever it had made goes. */
async function abandonStart(context: EngineContext, record: ContainerRecord): Promise<ContainerRecord> {
  await takeDown(context, record);
  const settled: ContainerRecord = {
    ...withoutRun(record),
    state: record.started === undefined ? 'created' : 'stopped',
    problem: 'the command that started it was interrupted',
  };
  context.store.write(settled);
  return settled;
}

/** Removes everything that a run of the container consists of; the container itself stays. May be repeated after a failure. */
export async function takeDown(context: EngineContext, record: ContainerRecord): Promise<void> {
  const failures: unknown[] = [];
  const attempt = async (action: () => Promise<void>) => {
    try {
      await action();
    } catch (error) {
      failures.push(error);
    }
  };
  await attempt(() => context.runtime.remove(record.id));
  if (rootlessFacts() !== undefined) await attempt(() => endUserNetwork(context, record.id));
  else if (usesNetworks(record)) await attempt(async () => (await context.networks()).tearDown(record.id));
  await attempt(() => context.images.unmount(record));
  const folder = context.store.folder(record.id);
  for (const name of [MINDER_SOCKET, CONSOLE_SOCKET, 'stdout', 'stderr', 'config.json'])
    rmSync(join(folder, name), { force: true });
  if (failures.length > 0) throw failures[0];
}

async function endUserNetwork({ paths }: EngineContext, id: string): Promise<void> {
  if (!existsSync(userNetworkFile(paths.userNetworks, id))) return;
  const { stopUserNetwork } = await import('./user-network.js');
  await stopUserNetwork(paths.userNetworks, id);
}

/** Containers without a network namespace of their own have nothing that could be taken down. */
function usesNetworks({ options }: ContainerRecord): boolean {
  const [first] = options.network;
  return (
    options.pod === undefined &&
    first !== 'host' &&
    first !== 'none' &&
    first?.startsWith('container:') !== true
  );
}

/** The record without what belongs to one run. */
export function withoutRun(record: ContainerRecord): ContainerRecord {
  const { init: _init, minder: _minder, problem: _problem, ...rest } = record;
  return { ...rest, starting: false, interfaces: [], ports: [] };
}

/** Init has ended: records how, and takes the run down. */
export async function finalize(context: EngineContext, record: ContainerRecord): Promise<ContainerRecord> {
  const folder = context.store.folder(record.id);
  const exit = await exitRecord(folder, record);
  const oomKilled = await context.runtime.oomKills(record.id).then(
    (kills) => kills > 0,
    () => false,
  );
  let problem = exit === undefined ? whyUnknown(record) : undefined;
  try {
    await takeDown(context, record);
  } catch (error) {
    // It has ended all the same; removing the container tries again.
    problem = error instanceof Error ? error.message : String(error);
    context.warn(`container ${record.name} has ended, but not all of it could be taken down: ${problem}`);
  }
  const settled: ContainerRecord = {
    ...withoutRun(record),
    ...(record.minder === undefined ? {} : { minder: record.minder }),
    state: 'stopped',
    exitCode: exit?.exitCode ?? 255,
    finished: exit?.finished ?? new Date().toISOString(),
    oomKilled,
    ...(problem === undefined ? {} : { problem }),
  };
  context.store.write(settled);
  if (oomKilled) note(context.paths, 'oom', record);
  note(context.paths, 'die', record, { exitCode: String(settled.exitCode) });
  await refreshPeers(context, record.interfaces);
  return settled;
}

function whyUnknown({ init }: ContainerRecord): string {
  return init !== undefined && isOfEarlierBoot(init)
    ? 'the machine ended while it ran'
    : 'its minder was killed, so that nobody knows its exit status';
}

/** What the minder recorded of this very run; waits for it as long as the minder lives. */
async function exitRecord(folder: string, record: ContainerRecord): Promise<ExitRecord | undefined> {
  for (let waited = 0; ; waited += 10) {
    const exit = readExit(folder);
    if (exit !== undefined && exit.pid === record.init?.pid) return exit;
    if (!isAlive(record.minder) || waited > EXIT_RECORD_MS) return undefined;
    await delay(10);
  }
}

/** Init runs on without its minder: another one takes over its output and watches for its end. */
async function adoptOrphan(context: EngineContext, record: ContainerRecord): Promise<ContainerRecord> {
  const { init } = record;
  if (init === undefined) return record;
  const folder = context.store.folder(record.id);
  try {
    await adopt(minderOptions(context, record, { adopts: true }), init.pid);
    using client = await MinderClient.connect(folder);
    const minder = identify(await client.tellInit(init.pid));
    const settled = { ...record, ...(minder === undefined ? {} : { minder }) };
    context.store.write(settled);
    return settled;
  } catch (error) {
    context.warn(
      `container ${record.name} has lost its minder: ${error instanceof Error ? error.message : String(error)}`,
    );
    return record;
  }
}
