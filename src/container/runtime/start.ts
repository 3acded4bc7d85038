/**
 * `start`: lets the first process of a created container go on. It waits in open(2) of the exec fifo for a reader; then it runs the
 * startContainer hooks, writes a byte, and becomes the container's program, which closes the fifo. Of a hook that fails it writes what
 * happened instead. Both ends of the wait are bounded by that process's life.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { delay, now } from '../../sys/time.js';
import { ContainerStatusError, errnoOf, StartError } from './errors.js';
import { runHooks, runHooksAnyway } from './hooks.js';
import { isAlive, type ProcessName } from './process-info.js';
import type { ContainerRecord } from './record.js';
import { isLauncher, ociState, statusOf } from './status.js';
import type { ContainerFolder } from './store.js';

const LONGEST_PAUSE_MS = 10;

/**
 * @param kill ends a container one of whose hooks failed
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
  await release(folder, record.init, kill);
  folder.removeFifo();
  await runPoststart(record, kill, warn);
}

/** Longer than any execve(2) takes: a program that nobody may look at is never seen to have begun. */
const EXECUTION_MS = 2000;

/** Waits until the first process is the program, or has ended. */
async function executed(init: ProcessName | undefined): Promise<void> {
  const end = now() + EXECUTION_MS;
  while (init !== undefined && isAlive(init) && isLauncher(init.pid) && now() < end) await delay(1);
}

/**
 * The poststart hooks, "after the user-specified process is executed" (config.md). From version 1.3 on the specification says "the runtime MUST generate an error, stop the container" of one that fails;
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
  if (hooks.length === 0) return;
  await executed(record.init);
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

const ANSWER = '0';
const MAX_FAILURE = 4096;

/** Opens the fifo for reading, and waits until the program runs or is known not to. @throws StartError */
async function release(folder: ContainerFolder, init: ProcessName, kill: () => Promise<void>): Promise<void> {
  let fd: number;
  try {
    fd = openSync(folder.fifoPath, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new StartError(`cannot open ${folder.fifoPath}: ${errnoOf(cause)}`, { cause });
  }
  try {
    const told = await hear(fd, init);
    if (told === ANSWER) return;
    if (told === '')
      throw new StartError('the container ended before its program was started', {
        hint: 'Its first process was killed.',
      });
    await kill();
    throw new StartError(failureOf(told));
  } finally {
    closeSync(fd);
  }
}

/** Reads the answer, or what the process writes instead of it until its end: nothing when it was killed. */
async function hear(fd: number, init: ProcessName): Promise<string> {
  let text = '';
  let gone = false;
  for (let pause = 0; ; pause = Math.min(pause * 2 + 0.5, LONGEST_PAUSE_MS)) {
    const bytes = tryRead(fd);
    if (bytes !== undefined && bytes.length > 0) {
      text += bytes.toString('utf8');
      if (text === ANSWER || text.length > MAX_FAILURE) return text;
      pause = 0;
      continue;
    }
    // Nobody has the other end open, any more or not yet.
    if ((bytes !== undefined && text !== '') || gone) return text;
    // What it wrote just before its end is read once more.
    gone = !isAlive(init);
    if (!gone) await delay(pause);
  }
}

/** Undefined while there is nothing to read and somebody who could write. */
function tryRead(fd: number): Buffer | undefined {
  const bytes = Buffer.alloc(512);
  try {
    return bytes.subarray(0, readSync(fd, bytes));
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return undefined;
    throw error;
  }
}

/** The launcher's words: what the hook printed, then its own line. */
function failureOf(told: string): string {
  const words = 'tvmm launcher: ';
  const at = told.lastIndexOf(words);
  if (at < 0) return `the container cannot be started: ${told.trim()}`;
  const output = told.slice(0, at).trim();
  const line = told
    .slice(at + words.length)
    .trim()
    .replace(/: step \d+ of program \d+/, '');
  return output === '' ? line : `${line}: ${output}`;
}
