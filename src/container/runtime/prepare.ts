/**
 * `create` up to the launch and after it, without the launch itself: the plan, then the record and the cgroup while the launch begins; then
 * what the launch asks the engine to do. Whoever executes the plan (create.ts, or a client of the resident engine) hands on what the
 * launch says. Until `commit` the record says `creating`, with everything in it that whoever comes after a crash needs to remove what was made.
 */
import { readLayout } from '../cgroup/layout.js';
import type { ConsoleSocket } from '../compile/context.js';
import { compileCreate } from '../compile/create.js';
import { TAG } from '../compile/tags.js';
import type { Plan } from '../plan/plan.js';
import type { NamespaceType } from '../spec/namespaces.js';
import type { OciSpec } from '../spec/types.js';
import { type Bundle, readBundle } from './bundle.js';
import { claim } from './claim.js';
import { contextOf, type Wanted } from './create-context.js';
import { destroy, removeFolder } from './delete.js';
import type { RuntimeEnvironment } from './environment.js';
import { CreateError } from './errors.js';
import { Furnishing } from './furnishing.js';
import { runHooks, runHooksAnyway } from './hooks.js';
import type { ContainerLock } from './lock.js';
import { writePidFile } from './pid-file.js';
import { bootId, type ProcessName, processInfo } from './process-info.js';
import type { ContainerRecord } from './record.js';
import { ociState } from './status.js';
import { ContainerFolder } from './store.js';
import type { TerminalSize } from './terminal-size.js';

export interface PrepareOptions {
  readonly bundle: string;
  /** Where the master of a terminal goes: asked once config.json has been read. May refuse. */
  readonly console?: (terminal: boolean) => ConsoleSocket | undefined;
  /** The size that a terminal begins with where the configuration gives none. */
  readonly terminalSize?: () => TerminalSize | undefined;
  readonly pidFile?: string;
  /** Descriptors from 3 on that the program keeps. */
  readonly preserveFds?: number;
  readonly noPivot?: boolean;
  readonly noNewKeyring?: boolean;
  /** NOTIFY_SOCKET: the container gets a socket to say that it is ready. */
  readonly notifySocket?: string;
  /** Variables on top of the configuration's. */
  readonly environment?: readonly string[];
  /** Wait for `start` before the program runs. */
  readonly waitForStart: boolean;
  /** The launcher stays until the program ends. */
  readonly supervise?: boolean;
  /** With `supervise`: the launcher removes the container then, where it can; it says so ({@link TAG.removed}). */
  readonly removal?: boolean;
  /** Starts a launcher that is given its plan later and makes these namespaces meanwhile: called once nothing but an error keeps it from its plan. */
  readonly begin?: (namespaces: readonly NamespaceType[]) => void;
}

/**
 * Claims the id and makes the plan. What else a container needs is made by {@link PreparedCreate.furnish}, while the launch begins. On failure
 * nothing of it is left.
 *
 * @throws BundleError, SpecError, ContainerIdError, ContainerExistsError, CgroupError, CompileError, SystemError
 */
export async function prepareCreate(
  environment: RuntimeEnvironment,
  id: string,
  options: PrepareOptions,
): Promise<PreparedCreate> {
  const folder = new ContainerFolder(environment.root, id);
  let bundle = withTerminalSize(readBundle(options.bundle), options.terminalSize);
  const notify = options.notifySocket === undefined ? undefined : await import('./notify.js');
  if (notify !== undefined) bundle = { ...bundle, spec: notify.withNotifySocket(folder, bundle.spec) };
  const console = options.console?.(bundle.spec.process?.terminal === true);
  const networkMade = options.begin !== undefined && !environment.rootless && hasOwnNetwork(bundle.spec);
  options.begin?.(networkMade ? ['network'] : []);
  const lock = await claim(folder);
  try {
    notify?.makeNotifyFolder(folder);
    return await make({
      environment,
      folder,
      bundle,
      options,
      lock,
      networkMade,
      ...(console === undefined ? {} : { console }),
    });
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

function withTerminalSize(bundle: Bundle, ask: PrepareOptions['terminalSize']): Bundle {
  const { process } = bundle.spec;
  if (process?.terminal !== true || process.consoleSize !== undefined) return bundle;
  const consoleSize = ask?.();
  return consoleSize === undefined
    ? bundle
    : { ...bundle, spec: { ...bundle.spec, process: { ...process, consoleSize } } };
}

/** Whether it has a new network namespace that belongs to the caller's user namespace. */
function hasOwnNetwork({ linux: { namespaces = [] } = {} }: OciSpec): boolean {
  return (
    namespaces.some(({ type, path }) => type === 'network' && path === undefined) &&
    !namespaces.some(({ type }) => type === 'user')
  );
}

interface Making extends Wanted {
  readonly lock: ContainerLock;
}

async function make(making: Making): Promise<PreparedCreate> {
  const { environment, folder, bundle, options, lock } = making;
  const { caller } = environment;
  let furnishing: Furnishing | undefined;
  try {
    const layout = caller === undefined ? readLayout() : (environment.layout?.(caller) ?? readLayout(caller));
    furnishing = new Furnishing(environment, folder, bundle, options, layout);
    if (bundle.spec.linux?.intelRdt !== undefined)
      furnishing.resctrl = (await import('./resctrl.js')).classOfService(
        folder.id,
        bundle.spec.linux.intelRdt,
      );
    // Which cgroups a user without root may make is known when they have been made.
    const cgroupLater = !environment.rootless;
    if (!cgroupLater) furnishing.finish();
    if (options.waitForStart) folder.makeFifo(furnishing.owner);
    const { cgroup, resctrl } = furnishing;
    const context = contextOf(
      { ...making, cgroupLater, ...(resctrl === undefined ? {} : { resctrl: resctrl.state }) },
      cgroup,
      layout,
    );
    if (context.seccomp !== undefined)
      environment.log.debug(`seccomp filter flags: ${context.seccomp.flags}`);
    const plan = environment.compile?.(bundle, context) ?? compileCreate(bundle.spec, context);
    // The stages have the names by which readers of runc's log know them.
    const steps = plan.programs.reduce((sum, one) => sum + one.steps.length, 0);
    environment.log.debug(`nsexec container setup: ${plan.programs.length} programs, ${steps} steps`);
    return new PreparedCreate(environment, folder, bundle.spec, options, plan, furnishing, lock);
  } catch (error) {
    if (furnishing === undefined) removeFolder(folder);
    else await furnishing.undo();
    throw error;
  }
}

/** A container that is planned. Whoever begins the launch has it furnished then; it ends with {@link commit} or {@link rollback}. */
export class PreparedCreate {
  #init: ProcessName | undefined;
  #hooksRun = false;
  #ready = false;
  #answer: ((tag: number) => void) | undefined;
  #asked = false;

  constructor(
    readonly environment: RuntimeEnvironment,
    readonly folder: ContainerFolder,
    readonly spec: OciSpec,
    readonly options: PrepareOptions,
    readonly plan: Plan,
    readonly furnishing: Furnishing,
    readonly lock: ContainerLock,
  ) {}

  get record(): ContainerRecord {
    const { record } = this.furnishing;
    return this.#init === undefined ? record : { ...record, init: this.#init };
  }

  /**
   * Makes what the launch does not need at once: the record, then the cgroup with its limits.
   *
   * @param answer tells the launch
   * @throws CgroupError, SystemError
   */
  furnish(answer: (tag: number) => void): void {
    this.#answer = answer;
    this.furnishing.finish();
    // An answer that nobody takes would stand before all others.
    if (awaits(this.plan, TAG.cgroup)) answer(TAG.cgroup);
  }

  /** The first process has everything applied, and is known. The two are told by different processes, in any order. */
  get ready(): boolean {
    return this.#ready && this.#init !== undefined;
  }

  /**
   * Does what the launch waits for.
   *
   * @returns the value of the answer to the same tag; undefined where none is expected
   * @throws HookError
   */
  async handle(tag: number, value: number): Promise<number | undefined> {
    switch (tag) {
      case TAG.idMaps: {
        const { writeIdMaps } = await import('./id-maps.js');
        writeIdMaps(value, this.spec.linux?.uidMappings ?? [], this.spec.linux?.gidMappings ?? []);
        return 0;
      }
      case TAG.pid: {
        this.environment.log.debug(`child process in init(): pid ${value}`);
        // A program that had nothing to do may have ended by now: then no process has this start time.
        this.#init ??= nameOf(value);
        this.folder.writeRecord(this.record);
        if (this.#asked) this.#answer?.(TAG.recorded);
        return undefined;
      }
      case TAG.recorded:
        // The launcher may be slower than the process that it has started.
        this.#asked = true;
        return this.#init === undefined ? undefined : 0;
      case TAG.prepare:
        await this.#prepare();
        return 0;
      case TAG.ready:
        this.environment.log.debug('init: closing the pipe to signal completion');
        this.#ready = true;
        return undefined;
      default:
        return undefined;
    }
  }

  async #prepare(): Promise<void> {
    const { hooks, linux } = this.spec;
    if (Object.keys(linux?.netDevices ?? {}).length > 0 && this.#init !== undefined) {
      const { moveNetDevices } = await import('../network/net-devices.js');
      moveNetDevices(`/proc/${this.#init.pid}/ns/net`, linux?.netDevices ?? {});
    }
    this.#hooksRun = true;
    // The lifecycle has prestart behind the creation of the environment: what reads the state there expects it to be done.
    await runHooks('prestart', hooks?.prestart, ociState(this.record, 'created'));
    await runHooks('createRuntime', hooks?.createRuntime, ociState(this.record, 'creating'));
  }

  /** The container is created. @throws CreateError; the caller rolls back then */
  commit(): ContainerRecord {
    if (!this.ready || this.#init === undefined)
      throw new CreateError('the container ended while it was being created');
    if (this.options.pidFile !== undefined) writePidFile(this.options.pidFile, this.#init.pid);
    // Where procfs hides what one may not look into (hidepid=2), an ordinary user sees the container once its program runs.
    if (this.#init.startTime === UNSEEN) this.#init = nameOf(this.#init.pid);
    const record: ContainerRecord = { ...this.record, phase: 'created' };
    this.folder.writeRecord(record);
    this.lock[Symbol.dispose]();
    return record;
  }

  /** Takes back everything; failures to do so are told and leave the record for a delete. */
  async rollback(): Promise<void> {
    try {
      await destroy(this.folder, this.record);
      const { createContainer = [], startContainer = [] } = this.spec.hooks ?? {};
      // Those that init runs itself are not told of.
      if (this.#hooksRun || (this.#init !== undefined && createContainer.length + startContainer.length > 0))
        await runHooksAnyway(
          'poststop',
          this.spec.hooks?.poststop,
          ociState(this.record, 'stopped'),
          (message) => this.environment.log.warn(message),
        );
    } catch (error) {
      this.environment.log.warn(error instanceof Error ? error.message : String(error));
    } finally {
      this.lock[Symbol.dispose]();
    }
  }
}

/** Whether some process of the launch waits for the engine's answer. */
function awaits({ programs }: Plan, tag: number): boolean {
  return programs.some(({ steps }) =>
    steps.some((step) => step.op === 'receive' && step.tag === tag && step.peer === undefined),
  );
}

/** No process has this start time. */
const UNSEEN = '0';

function nameOf(pid: number): ProcessName {
  return { pid, startTime: processInfo(pid)?.startTime ?? UNSEEN, boot: bootId() };
}
