/** A container in the foreground: our streams joined to it, signals passed on, its exit status ours. For run, start -a and attach. */
import type { EngineContext } from '../../container/engine/context.js';
import { ContainerNotFoundError } from '../../container/engine/errors.js';
import type { ContainerRecord } from '../../container/engine/record.js';
import { parseRestartPolicy } from '../../container/engine/restart.js';
import { startContainer } from '../../container/engine/start.js';
import { killContainer, removeContainer } from '../../container/engine/stop.js';
import { current, waitForEnd } from '../../container/engine/wait.js';
import { UsageError } from '../usage-error.js';
import { here, type Joined } from './here.js';
import type { JoinWishes } from './join-flags.js';

export interface ForegroundOptions {
  readonly interactive: boolean;
  readonly tty: boolean;
  /** Pass signals that we get on to the container. */
  readonly signals: boolean;
  readonly detachKeys?: Uint8Array | undefined;
}

/** A terminal in the container needs one here, or what is typed would be garbled without a word. @throws UsageError */
function checkTerminal({ interactive, tty }: Pick<ForegroundOptions, 'interactive' | 'tty'>): void {
  if (interactive && tty && !here().stdinIsTerminal)
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
  wishes?: JoinWishes,
): Promise<number> {
  const interactive = flags.interactive === true && wishes?.input !== false;
  checkTerminal({ interactive, tty: flags.tty === true });
  return startAttached(context, await make(), interactive, wishes);
}

/** @returns the exit status */
export async function startAttached(
  context: EngineContext,
  record: ContainerRecord,
  interactive = record.options.interactive,
  { signals, outputs, detachKeys }: Omit<JoinWishes, 'input'> = { signals: true },
): Promise<number> {
  const { id, options } = record;
  checkTerminal({ interactive, tty: options.tty });
  // What is to be started again has the minder's program do that.
  const cleansUp = parseRestartPolicy(options.restart).kind === 'no';
  let joined: Joined | undefined;
  try {
    await context.store.locked(id, (found) =>
      startContainer(context, found, {
        onCreated: async (_minder, made) => {
          // Who started it with its input is the only one who feeds it: cat | head must not leave a container behind.
          const role = { signals, outputs, detachKeys, ownsInput: interactive, cleansUp };
          joined = await here().attach(context, made, { interactive, tty: options.tty, ...role });
        },
      }),
    );
  } catch (error) {
    joined?.[Symbol.dispose]();
    if (options.remove) await removeContainer(context, id, { force: true }).catch(() => {});
    throw error;
  }
  if (joined === undefined) return 125;
  using ours = joined;
  return await stay(context, record, ours);
}

/** Joins what runs already. @returns the exit status */
export async function attachTo(
  context: EngineContext,
  record: ContainerRecord,
  options: ForegroundOptions,
): Promise<number> {
  checkTerminal(options);
  using joined = await here().attach(context, record, { ...options, ownsInput: false, cleansUp: false });
  return await stay(context, record, joined);
}

async function stay(context: EngineContext, record: ContainerRecord, joined: Joined): Promise<number> {
  const { id } = record;
  const end = await joined.join((signal) => void killContainer(context, id, signal).catch(() => {}));
  if (end.kind === 'detached' || end.kind === 'gone') return 0;
  const exitCode = end.kind === 'ended' ? end.exitCode : await waitForEnd(context, id);
  await cleanUp(context, record);
  await joined.done();
  return exitCode ?? 255;
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
