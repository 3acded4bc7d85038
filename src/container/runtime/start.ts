/**
 * `start`: lets the first process of a created container go on. It waits in open(2) of the exec fifo for a reader; then it writes a byte,
 * runs the startContainer hooks and becomes the container's program. Both ends of the wait are bounded by that process's life.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { ContainerStatusError, errnoOf, StartError } from './errors.js';
import { runHooks, runHooksAnyway } from './hooks.js';
import { isAlive } from './process-info.js';
import type { ContainerRecord } from './record.js';
import { ociState, statusOf } from './status.js';
import type { ContainerFolder } from './store.js';

const LONGEST_PAUSE_MS = 10;

/**
 * @param kill ends a container whose poststart hook failed
 * @throws ContainerStatusError, StartError, HookError
 */
export async function startContainer(
  folder: ContainerFolder,
  record: ContainerRecord,
  kill: () => Promise<void>,
  warn: (message: string) => void,
): Promise<void> {
  const status = statusOf(folder, record);
  if (status === 'running') throw new ContainerStatusError('cannot start an already running container');
  if (status === 'stopped') throw new ContainerStatusError('cannot start a container that has stopped');
  if (status !== 'created' || record.init === undefined)
    throw new ContainerStatusError(`cannot start a container in the ${status} state`);
  if (!record.hasProcess) throw new StartError('cannot start a container whose config.json has no process');
  await release(folder, record.init);
  folder.removeFifo();
  await runPoststart(record, kill, warn);
}

/**
 * The poststart hooks. From version 1.3 on the specification says "the runtime MUST generate an error, stop the container" of one that fails;
 * before it was to be a warning.
 *
 * @throws HookError
 */
export async function runPoststart(
  record: ContainerRecord,
  kill: () => Promise<void>,
  warn: (message: string) => void,
): Promise<void> {
  const hooks = record.hooks?.poststart ?? [];
  const state = ociState(record, 'running');
  if (isBefore(record.ociVersion, 1, 3)) return await runHooksAnyway('poststart', hooks, state, warn);
  try {
    await runHooks('poststart', hooks, state);
  } catch (error) {
    await kill();
    throw error;
  }
}

function isBefore(version: string, major: number, minor: number): boolean {
  const [ours = 0, theirs = 0] = version.split('.').map(Number);
  return ours < major || (ours === major && theirs < minor);
}

/** Reads the byte that the process writes when the fifo has a reader. */
async function release(folder: ContainerFolder, init: NonNullable<ContainerRecord['init']>): Promise<void> {
  let fd: number;
  try {
    fd = openSync(folder.fifoPath, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new StartError(`cannot open ${folder.fifoPath}: ${errnoOf(cause)}`, { cause });
  }
  try {
    const byte = new Uint8Array(1);
    for (let pause = 0; ; pause = Math.min(pause * 2 + 0.5, LONGEST_PAUSE_MS)) {
      if (tryRead(fd, byte)) return;
      if (!isAlive(init)) {
        // It may have written and ended since.
        if (tryRead(fd, byte)) return;
        throw new StartError('the container ended before its program was started', {
          hint: 'Its first process was killed, or one of its startContainer hooks failed.',
        });
      }
      await delay(pause);
    }
  } finally {
    closeSync(fd);
  }
}

/** False while nobody has the other end open, or has not written. */
function tryRead(fd: number, into: Uint8Array): boolean {
  try {
    return readSync(fd, into) > 0;
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return false;
    throw error;
  }
}
