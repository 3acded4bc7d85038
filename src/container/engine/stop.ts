/** Ends and removals: stop, kill, remove, and waiting for a container. No lock is held while waiting for a container to react. */
import { constants as os } from 'node:os';
import { delay, now } from '../../sys/time.js';
import { signalNumber } from '../spec/signals.js';
import type { EngineContext } from './context.js';
import { ContainerStateError, OptionError } from './errors.js';
import { note } from './events.js';
import { isAlive, type ProcessIdentity } from './process.js';
import type { ContainerRecord } from './record.js';
import { finalize, settle, takeDown } from './settle.js';
import { refuse } from './start.js';
import { removeAnonymous } from './volumes/volumes.js';

const KILL_TIMEOUT_MS = 15_000;
const LONGEST_PAUSE_MS = 50;

/** @returns whether the process ended in time */
async function waitForDeath(identity: ProcessIdentity | undefined, timeoutMs: number): Promise<boolean> {
  const end = now() + timeoutMs;
  for (let pause = 1; isAlive(identity); pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    if (now() >= end) return false;
    await delay(pause);
  }
  return true;
}

export interface StopOptions {
  /** Seconds until SIGKILL; negative: never. */
  readonly timeout?: number | undefined;
  readonly signal?: string | undefined;
}

/** The signal's number. @throws OptionError */
function signalOption(option: string, text: string): number {
  const number = signalNumber(text);
  if (number === undefined || number === 0)
    throw new OptionError(option, `${JSON.stringify(text)} is no signal`);
  return number;
}

/** Asks a container to end, and makes it when it does not. A container that does not run is left as it is. @throws ContainerStateError */
export async function stopContainer(
  context: EngineContext,
  id: string,
  options: StopOptions = {},
): Promise<ContainerRecord> {
  const asked = await context.store.locked(id, async (found) => {
    const record = await settle(context, found);
    if (record.state === 'created' || record.state === 'stopped') {
      const kept = { ...record, stopRequested: true };
      if (!record.stopRequested) context.store.write(kept);
      return kept;
    }
    const signal = signalOption('--signal', options.signal ?? record.stopSignal);
    // First the mark, or the end would be answered by the restart policy.
    const marked = { ...record, stopRequested: true };
    context.store.write(marked);
    await context.runtime.kill(id, signal);
    // What is paused cannot handle a signal.
    if (record.state === 'paused') await context.runtime.resume(id);
    return marked;
  });
  if (asked.init === undefined) return asked;
  const timeout = options.timeout ?? asked.stopTimeout;
  const patience = timeout < 0 ? Number.POSITIVE_INFINITY : timeout * 1000;
  if (!(await waitForDeath(asked.init, patience))) await killNow(context, id, asked.init);
  const stopped = await context.store
    .locked(id, (record) => settle(context, record))
    .catch((error: unknown) => {
      // --rm: whoever saw the end first has removed it.
      if (context.store.read(id) === undefined) return asked;
      throw error;
    });
  note(context.paths, 'stop', stopped);
  return stopped;
}

/** SIGKILL, and waiting for its effect. The caller may hold the lock. @throws ContainerStateError */
async function killNow(context: EngineContext, id: string, init: ProcessIdentity | undefined): Promise<void> {
  try {
    await context.runtime.kill(id, os.signals.SIGKILL);
  } catch (error) {
    // It ended by itself meanwhile.
    if (isAlive(init)) throw error;
  }
  if (await waitForDeath(init, KILL_TIMEOUT_MS)) return;
  throw new ContainerStateError(`process ${init?.pid} of container ${id.slice(0, 12)} does not die`, {
    code: 'CONTAINER_STUCK',
    hint: `it hangs in the kernel: see /proc/${init?.pid}/stack`,
  });
}

/** Sends a signal to init. @throws ContainerStateError, OptionError */
export async function killContainer(context: EngineContext, id: string, signal: string): Promise<void> {
  const number = signalOption('--signal', signal);
  const record = await context.store.locked(id, async (found) => {
    const settled = await settle(context, found);
    refuse(settled, 'kill');
    // Whoever sends one of these wants it to stay down.
    if (number === os.signals.SIGKILL || number === signalNumber(settled.stopSignal))
      context.store.write({ ...settled, stopRequested: true });
    await context.runtime.kill(id, number);
    return settled;
  });
  note(context.paths, 'kill', record, { signal: String(number) });
  if (number !== os.signals.SIGKILL) return;
  await waitForDeath(record.init, KILL_TIMEOUT_MS);
  if (context.store.read(id) !== undefined)
    await context.store.locked(id, (found) => settle(context, found)).catch(() => {});
}

/**
 * Removes a container and everything of it.
 *
 * @param options.volumes its volumes without a name as well; those of `--rm` go always
 * @throws ContainerStateError when it runs and `force` is not set
 */
export async function removeContainer(
  context: EngineContext,
  id: string,
  { force = false, volumes = false } = {},
): Promise<void> {
  await context.store.locked(id, async (found) => {
    let record = await settle(context, found);
    refuse(record, force ? 'force-remove' : 'remove');
    if (record.options.pause) refuseMembers(context, record);
    if (record.state === 'running' || record.state === 'paused') {
      context.store.write({ ...record, stopRequested: true });
      await killNow(context, id, record.init);
      record = await finalize(context, record);
    }
    await takeDown(context, record);
    await context.images.remove(record);
    context.store.remove(id, record.name);
    note(context.paths, 'destroy', record);
    if (volumes || record.options.remove) await removeAnonymous(context, record);
  });
}

function refuseMembers(context: EngineContext, record: ContainerRecord): void {
  const members = context.store.all().filter(({ options }) => options.pod === record.id);
  if (members.length === 0) return;
  throw new ContainerStateError(
    `pod ${record.name} has containers: ${members.map(({ name }) => name).join(', ')}`,
    {
      code: 'POD_IN_USE',
      hint: 'remove them first, or use tvmm pod rm -f',
    },
  );
}
