/** `create` and `run` for a client that executes the plan itself: as runtime/create.ts does them, without a launcher of our own. */
import { exitStatus } from '../../sys/spawn.js';
import type { CgroupLayout } from '../cgroup/layout.js';
import { TAG } from '../compile/tags.js';
import { type CreateOptions, checkTerminal, type RunOptions } from '../runtime/create.js';
import type { RuntimeEnvironment } from '../runtime/environment.js';
import { runHooks } from '../runtime/hooks.js';
import { type PreparedCreate, prepareCreate } from '../runtime/prepare.js';
import { isAlive } from '../runtime/process-info.js';
import type { ContainerRecord } from '../runtime/record.js';
import { removeOwn } from '../runtime/remove-own.js';
import { ociState } from '../runtime/status.js';
import { type Caller, ColdError, descriptorsOf, withUmask } from './caller.js';
import { driveUntil } from './drive.js';
import { LayoutWatch } from './layout-watch.js';
import { planCache } from './plan-cache.js';
import type { RemoteLaunch } from './remote-launch.js';

interface Mode {
  readonly waitForStart: boolean;
  readonly supervise: boolean;
  readonly removal?: boolean;
}

/** How {@link runFor} ends. */
export interface ServedRunOptions extends RunOptions {
  /** Nothing will be left to be told when the container has ended: its caller need not wait for us then. */
  readonly silent?: boolean;
}

const compile = planCache.compile.bind(planCache);
let watch: LayoutWatch | undefined;
/** Of the cgroups, for a caller: without reading all mounts for each. */
export function layout(caller: number): CgroupLayout {
  watch ??= new LayoutWatch();
  return watch.layoutOf(caller);
}

function prepare(
  caller: Caller,
  environment: RuntimeEnvironment,
  id: string,
  options: CreateOptions,
  mode: Mode,
): Promise<PreparedCreate> {
  const handed = descriptorsOf(caller, options.preserveFds ?? 0);
  const cached = { ...environment, compile, layout };
  return prepareCreate(cached, id, {
    ...options,
    ...mode,
    preserveFds: handed.count,
    environment: handed.environment,
    begin: (namespaces) => caller.begin(namespaces),
    console: (terminal) => {
      checkTerminal(terminal, !mode.supervise, options.consoleSocket);
      if (!terminal) return undefined;
      // Somebody has to carry what is typed and printed.
      if (options.consoleSocket === undefined) throw new ColdError();
      return { path: options.consoleSocket };
    },
  });
}

/** @throws whatever keeps it from being created; nothing of it is left then. ColdError */
export async function createFor(
  caller: Caller,
  environment: RuntimeEnvironment,
  id: string,
  options: CreateOptions,
): Promise<void> {
  const mode = { waitForStart: true, supervise: false };
  const prepared = await prepare(caller, environment, id, options, mode);
  try {
    using launch = caller.execute(prepared.plan);
    prepared.furnish((tag) => launch.answer(tag));
    await driveUntil(launch, handler(prepared), () => prepared.ready);
    await tellPidfd(options, prepared.record);
    withUmask(caller, () => prepared.commit());
  } catch (error) {
    await prepared.rollback();
    throw error;
  }
}

/** @returns the exit status: 0 when detached @throws whatever keeps it from running; ColdError */
export async function runFor(
  caller: Caller,
  environment: RuntimeEnvironment,
  id: string,
  options: ServedRunOptions,
): Promise<number> {
  const detached = options.detach === true;
  const removal = options.silent === true && options.keep !== true;
  const mode = { waitForStart: false, supervise: !detached, removal };
  const prepared = await prepare(caller, environment, id, options, mode);
  let committed: ContainerRecord | undefined;
  try {
    using launch = caller.execute(prepared.plan);
    prepared.furnish((tag) => launch.answer(tag));
    // Detached, the end of the conversation tells that the program runs: its descriptors were closed by execve(2).
    await driveUntil(launch, handler(prepared), () => !detached && prepared.ready);
    await tellPidfd(options, prepared.record);
    const record = withUmask(caller, () => prepared.commit());
    committed = record;
    if (detached || (record.hooks?.poststart ?? []).length > 0)
      await runHooks('poststart', record.hooks?.poststart, ociState(record, 'running'));
    if (detached) return 0;
    const end = await ended(launch);
    if (end?.removed === true) return end.status;
    // Without a status the caller was killed; the container is its own master then, as it is below runc.
    const lives = end === undefined && record.init !== undefined && isAlive(record.init);
    if (options.keep !== true && !lives)
      await removeOwn(environment, prepared.folder, record, end !== undefined);
    return end?.status ?? 0;
  } catch (error) {
    if (committed === undefined) await prepared.rollback();
    else if (options.keep !== true) await removeOwn(environment, prepared.folder, committed);
    throw error;
  }
}

/** How a program has ended that somebody has waited for. */
interface End {
  /** Its exit status. */
  readonly status: number;
  /** The container has been removed. */
  readonly removed: boolean;
}

/** Undefined when nobody has waited for the program. @throws LaunchError */
export async function ended(launch: RemoteLaunch): Promise<End | undefined> {
  for (;;) {
    const event = await launch.next();
    if (event.kind === 'failed') throw event.error;
    if (event.kind === 'ended')
      return { status: exitStatus(event.waitStatus), removed: event.tag === TAG.removed };
    if (event.kind === 'closed') return undefined;
  }
}

function handler(prepared: PreparedCreate) {
  return (tag: number, value: number) => prepared.handle(tag, value);
}

async function tellPidfd(options: CreateOptions, record: ContainerRecord): Promise<void> {
  if (options.pidfdSocket === undefined || record.init === undefined) return;
  const { sendPidfd } = await import('../runtime/pidfd.js');
  sendPidfd(options.pidfdSocket, record.init);
}
