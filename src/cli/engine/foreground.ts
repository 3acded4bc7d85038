/** A container in the foreground: our streams joined to it, signals passed on, its exit status ours. For run, start -a and attach. */
import { follow, join } from '../../container/engine/attach.js';
import type { EngineContext } from '../../container/engine/context.js';
import { ContainerNotFoundError } from '../../container/engine/errors.js';
import { MinderClient } from '../../container/engine/minder.js';
import type { ContainerRecord } from '../../container/engine/record.js';
import { parseRestartPolicy } from '../../container/engine/restart.js';
import { startContainer } from '../../container/engine/start.js';
import { killContainer, removeContainer } from '../../container/engine/stop.js';
import { current, waitForEnd } from '../../container/engine/wait.js';
import { UsageError } from '../usage-error.js';

/** Those that mean the program, not the terminal's job control. */
const PROXIED: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];

export interface ForegroundOptions {
  readonly interactive: boolean;
  readonly tty: boolean;
  /** Pass signals that we get on to the container. */
  readonly signals: boolean;
}

function streams({ interactive }: Pick<ForegroundOptions, 'interactive'>) {
  return { stdin: interactive ? process.stdin : undefined, stdout: process.stdout, stderr: process.stderr };
}

/** A terminal in the container needs one here, or what is typed would be garbled without a word. @throws UsageError */
function checkTerminal({ interactive, tty }: Pick<ForegroundOptions, 'interactive' | 'tty'>): void {
  if (interactive && tty && !process.stdin.isTTY)
    throw new UsageError('-t needs a terminal, and stdin is none', 'leave out -t to use a pipe');
}

/** Starts a container that exists, in the background. */
export async function startDetached(context: EngineContext, record: ContainerRecord): Promise<void> {
  try {
    await context.store.locked(record.id, (found) => startContainer(context, found));
  } catch (error) {
    if (record.options.remove) await removeContainer(context, record.id, { force: true }).catch(() => {});
    throw error;
  }
}

/** Creates by `make`, starts, stays. @returns the exit status */
export async function runContainer(
  context: EngineContext,
  flags: { readonly interactive?: boolean | undefined; readonly tty?: boolean | undefined },
  make: () => Promise<ContainerRecord>,
): Promise<number> {
  checkTerminal({ interactive: flags.interactive === true, tty: flags.tty === true });
  return startAttached(context, await make());
}

/** @returns the exit status */
export async function startAttached(
  context: EngineContext,
  record: ContainerRecord,
  interactive = record.options.interactive,
): Promise<number> {
  const { id, options } = record;
  checkTerminal({ interactive, tty: options.tty });
  // What is to be started again has the minder's program do that.
  const cleansUp = parseRestartPolicy(options.restart).kind === 'no';
  let client: MinderClient | undefined;
  try {
    await context.store.locked(id, (found) =>
      startContainer(context, found, {
        onCreated: async () => {
          // A connection of its own: the engine's ends with the start.
          client = await MinderClient.connect(context.store.folder(id));
          // Who started it with its input is the only one who feeds it: cat | head must not leave a container behind.
          await follow(client, streams({ interactive }), { ownsStdin: interactive, cleansUp });
        },
      }),
    );
  } catch (error) {
    client?.[Symbol.dispose]();
    if (options.remove) await removeContainer(context, id, { force: true }).catch(() => {});
    throw error;
  }
  if (client === undefined) return 125;
  using joined = client;
  return await stay(context, record, joined, { interactive, tty: options.tty, signals: true });
}

/** Joins what runs already. @returns the exit status */
export async function attachTo(
  context: EngineContext,
  record: ContainerRecord,
  options: ForegroundOptions,
): Promise<number> {
  checkTerminal(options);
  using client = await MinderClient.connect(context.store.folder(record.id));
  await follow(client, streams(options));
  return await stay(context, record, client, options);
}

async function stay(
  context: EngineContext,
  record: ContainerRecord,
  client: MinderClient,
  options: ForegroundOptions,
): Promise<number> {
  const { id } = record;
  // In a terminal's raw mode Ctrl-C is a byte; a signal then comes from somewhere else and is meant for us.
  const proxied = options.signals && !options.tty ? PROXIED : [];
  const pass = (signal: NodeJS.Signals) => void killContainer(context, id, signal).catch(() => {});
  for (const signal of proxied) process.on(signal, pass);
  try {
    const end = await join(client, streams(options), options.tty);
    if (end.kind === 'detached') return 0;
    const exitCode = end.kind === 'ended' ? end.exitCode : await waitForEnd(context, id);
    await cleanUp(context, record);
    await client.done();
    return exitCode ?? 255;
  } finally {
    for (const signal of proxied) process.off(signal, pass);
    if (options.interactive) process.stdin.unref?.();
  }
}

/** The minder’s exit command would do the same, and does when we are killed. When we return, it is done. */
async function cleanUp(context: EngineContext, record: ContainerRecord): Promise<void> {
  try {
    const settled = await current(context, record.id);
    if (record.options.remove && settled?.state === 'stopped') await removeContainer(context, record.id);
  } catch (error) {
    if (!(error instanceof ContainerNotFoundError)) throw error;
  }
}
