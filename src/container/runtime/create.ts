/** `create` and `run` as one command does them: prepares the container, runs the launcher, takes everything back when it fails. */
import type { Launch } from '../launch/launch.js';
import type { ConsolePair } from './console.js';
import { driveUntil, expectLeft, finalStatus, type Stdio, startLaunch } from './drive.js';
import type { RuntimeEnvironment } from './environment.js';
import { CreateError } from './errors.js';
import { handedDescriptors } from './handed-descriptors.js';
import type { NotifyProxy } from './notify.js';
import { type PreparedCreate, prepareCreate } from './prepare.js';
import type { ContainerRecord } from './record.js';
import { removeOwn } from './remove-own.js';
import { runPoststart } from './start.js';
import type { ContainerFolder } from './store.js';
import { ownTerminalSize } from './terminal-size.js';

export interface CreateOptions {
  readonly bundle: string;
  /** Path of the Unix socket that is sent the terminal's master side. */
  readonly consoleSocket?: string;
  /** Path of the Unix socket that is sent a pidfd of the first process. */
  readonly pidfdSocket?: string;
  readonly pidFile?: string;
  readonly preserveFds?: number;
  readonly noPivot?: boolean;
  readonly noNewKeyring?: boolean;
  /** Whom to tell that the container is ready (sd_notify(3)); `run` does, after `create` it is left to `start`. */
  readonly notifySocket?: string;
  /** Our own by default. */
  readonly stdio?: Stdio;
  /** A program that starts the launcher and becomes the parent of the first process: the engine's minder. */
  readonly under?: readonly string[];
}

export interface RunOptions extends CreateOptions {
  readonly detach?: boolean;
  /** Do not delete it when it has ended. */
  readonly keep?: boolean;
}

/** Where a terminal's master goes; refuses what cannot work. @throws CreateError */
export function checkTerminal(terminal: boolean, detached: boolean, consoleSocket: string | undefined): void {
  if (detached && terminal && consoleSocket === undefined)
    throw new CreateError('cannot allocate tty if runtime will detach without setting console socket', {
      hint: 'Use --console-socket, or stay in the foreground.',
    });
  if ((!detached || !terminal) && consoleSocket !== undefined)
    throw new CreateError('cannot use console socket if runtime will not detach or allocate tty');
}

async function prepare(
  environment: RuntimeEnvironment,
  id: string,
  options: CreateOptions,
  mode: { waitForStart: boolean; supervise: boolean; detached: boolean },
): Promise<{ prepared: PreparedCreate; pair: ConsolePair | undefined; preserveFds: number }> {
  const handed = handedDescriptors(options.preserveFds ?? 0);
  const prepared = await prepareCreate(environment, id, {
    ...options,
    preserveFds: handed.count,
    environment: handed.environment,
    waitForStart: mode.waitForStart,
    supervise: mode.supervise,
    ...(mode.detached ? {} : { terminalSize: ownTerminalSize }),
    console: (terminal) => {
      checkTerminal(terminal, mode.detached, options.consoleSocket);
      if (!terminal) return undefined;
      return options.consoleSocket === undefined
        ? { descriptor: consoleAt(handed.count) }
        : { path: options.consoleSocket };
    },
  });
  const terminal = prepared.spec.process?.terminal === true;
  const pair = terminal && options.consoleSocket === undefined ? await newPair() : undefined;
  return { prepared, pair, preserveFds: handed.count };
}

/** The way of a terminal's master side to a command in the foreground. */
export async function newPair(): Promise<ConsolePair> {
  const { ConsolePair } = await import('./console.js');
  return new ConsolePair();
}

/** Behind the control socket. */
function consoleAt(preserveFds: number): number {
  return 3 + preserveFds + 1;
}

function launch(
  prepared: PreparedCreate,
  options: CreateOptions,
  preserveFds: number,
  pair?: ConsolePair,
): Launch {
  return startLaunch(prepared.plan, {
    preserveFds,
    ...(options.stdio === undefined ? {} : { stdio: options.stdio }),
    ...(options.under === undefined ? {} : { under: options.under }),
    ...(pair === undefined ? {} : { descriptors: new Map([[consoleAt(preserveFds), pair.launcherEnd.fd]]) }),
  });
}

/** @throws whatever keeps it from being created; nothing of it is left then */
export async function createContainer(
  environment: RuntimeEnvironment,
  id: string,
  options: CreateOptions,
): Promise<ContainerRecord> {
  const mode = { waitForStart: true, supervise: false, detached: true };
  const { prepared, preserveFds } = await prepare(environment, id, options, mode);
  try {
    using launched = launch(prepared, options, preserveFds);
    prepared.furnish((tag) => launched.answer(tag));
    await driveUntil(launched, handler(prepared), () => prepared.ready);
    expectLeft(launched);
    await tellPidfd(options, prepared.record);
    const record = prepared.commit();
    launched.release();
    return record;
  } catch (error) {
    await prepared.rollback();
    throw error;
  }
}

/**
 * Creates and starts. Detached it returns when the program runs; else when it has ended, and the container is deleted then.
 *
 * @returns the exit status: 0 when detached
 */
export async function runContainer(
  environment: RuntimeEnvironment,
  id: string,
  options: RunOptions,
): Promise<number> {
  const detached = options.detach === true;
  const mode = { waitForStart: false, supervise: !detached, detached };
  const foreground = detached ? undefined : await import('./foreground.js');
  using signals = foreground === undefined ? undefined : new foreground.SignalForwarder();
  const { prepared, pair, preserveFds } = await prepare(environment, id, options, mode);
  using _pair = pair;
  let committed: ContainerRecord | undefined;
  let removed = false;
  const warn = (message: string) => environment.log.warn(message);
  const remove = async () => {
    if (!removed && committed !== undefined) await removeOwn(environment, prepared.folder, committed);
    removed = true;
  };
  try {
    using notify = await openNotify(prepared.folder, options.notifySocket, warn);
    using launched = launch(prepared, options, preserveFds, pair);
    if (signals !== undefined) signals.target = launched.pid;
    prepared.furnish((tag) => launched.answer(tag));
    // Detached, the end of the conversation tells that the program runs: its descriptors were closed by execve(2).
    await driveUntil(launched, handler(prepared), () => !detached && prepared.ready);
    if (detached) expectLeft(launched);
    await tellPidfd(options, prepared.record);
    committed = prepared.commit();
    if (detached) launched.release();
    await using _proxy = pair === undefined ? undefined : await pair.join();
    await runPoststart(committed, remove, warn);
    if (foreground === undefined) {
      await notify?.tellOf(committed.init);
      return 0;
    }
    notify?.tellOfThisProcess(warn);
    try {
      await foreground.waitClosed(launched);
    } finally {
      await notify?.over();
    }
    const status = finalStatus(launched);
    if (options.keep !== true) await remove();
    return status;
  } catch (error) {
    if (committed === undefined) await prepared.rollback();
    else if (options.keep !== true) await remove();
    throw error;
  }
}

function handler(prepared: PreparedCreate) {
  return (tag: number, value: number) => prepared.handle(tag, value);
}

async function tellPidfd(options: CreateOptions, record: ContainerRecord): Promise<void> {
  if (options.pidfdSocket === undefined || record.init === undefined) return;
  const { sendPidfd } = await import('./pidfd.js');
  sendPidfd(options.pidfdSocket, record.init);
}

/** Loaded where somebody is to be told only. */
async function openNotify(
  folder: ContainerFolder,
  host: string | undefined,
  warn: (message: string) => void,
): Promise<NotifyProxy | undefined> {
  if (host === undefined) return undefined;
  const { NotifyProxy } = await import('./notify.js');
  return NotifyProxy.open(folder, host, warn);
}
