/**
 * The OCI runtime's operations (runtime.md, "Operations", and those that runc has besides) on containers below one root folder. Each reads
 * the container's record anew and takes its lock where it changes it; nothing is kept between calls, so that several processes, and one
 * that lives long, may use the same root. What an operation needs is loaded when it is first asked for: a command does one and ends.
 */
import { statSync } from 'node:fs';
import type { OciResources } from '../cgroup/resources.js';
import type { CgroupStats } from '../cgroup/stats.js';
import type { ContainerStatus, OciState } from '../spec/state.js';
import type { OciProcess, OciSpec } from '../spec/types.js';
import type { CheckpointOptions } from './checkpoint.js';
import type { CreateOptions, RunOptions } from './create.js';
import type { RuntimeEnvironment } from './environment.js';
import { ContainerNotFoundError, ContainerStatusError } from './errors.js';
import type { ExecOptions } from './exec.js';
import type { ContainerRecord } from './record.js';
import type { RestoreOptions } from './restore.js';
import { cgroupOf, ociState, statusOf } from './status.js';
import { ContainerFolder, containerIds } from './store.js';

/** The state with what runc adds to it. */
export interface ContainerState extends OciState {
  /** 0 once it has stopped. */
  readonly pid: number;
  readonly rootfs: string;
  /** RFC 3339. */
  readonly created: string;
  /** The user id that owns the container's folder, as a name where it has one. */
  readonly owner: string;
}

/** A folder that is listed but cannot be read as a container. */
export interface ListFailure {
  readonly id: string;
  readonly error: unknown;
}

/** What has to be said of a runtime: its root folder. The rest has defaults: cgroupfs, no log, rootless for whoever is not root. */
export type RuntimeOptions = Pick<RuntimeEnvironment, 'root'> & Partial<RuntimeEnvironment>;

const NO_LOG = { debug: () => {}, warn: () => {} };

/**
 * @example
 * ```ts
 * const runtime = new Runtime({ root: '/run/mine' });
 * const status = await runtime.run('hello', { bundle: '/srv/bundle' });
 * ```
 */
export class Runtime {
  readonly environment: RuntimeEnvironment;

  constructor(options: RuntimeOptions) {
    this.environment = {
      cgroupManager: 'cgroupfs',
      rootless: process.geteuid?.() !== 0,
      log: NO_LOG,
      ...options,
    };
  }

  #folder(id: string): ContainerFolder {
    return new ContainerFolder(this.environment.root, id);
  }

  /** @throws ContainerIdError, ContainerNotFoundError, ContainerRecordError */
  #open(id: string): { folder: ContainerFolder; record: ContainerRecord } {
    const folder = this.#folder(id);
    const record = folder.readRecord();
    if (record === undefined) throw new ContainerNotFoundError(id, this.environment.root);
    return { folder, record };
  }

  async create(id: string, options: CreateOptions): Promise<ContainerRecord> {
    const { createContainer } = await import('./create.js');
    return await createContainer(this.environment, id, options);
  }

  /** @returns the exit status */
  async run(id: string, options: RunOptions): Promise<number> {
    const { runContainer } = await import('./create.js');
    return await runContainer(this.environment, id, options);
  }

  /**
   * @param notifySocket whom to tell that the container is ready, where it was created with one (sd_notify(3)): start waits for that
   * @throws ContainerStatusError, StartError, HookError
   */
  async start(id: string, { notifySocket }: { notifySocket?: string | undefined } = {}): Promise<void> {
    const { folder } = this.#open(id);
    if (notifySocket === undefined) return void (await this.#start(id));
    const { NotifyProxy } = await import('./notify.js');
    using notify = NotifyProxy.open(folder, notifySocket, (message) => this.environment.log.warn(message));
    const { init } = await this.#start(id);
    await notify?.tellOf(init);
  }

  async #start(id: string): Promise<ContainerRecord> {
    using _lock = await this.#folder(id).lock();
    const { folder, record } = this.#open(id);
    const warn = (message: string) => this.environment.log.warn(message);
    const { startContainer } = await import('./start.js');
    const kill = async () => {
      const { destroy } = await import('./delete.js');
      const { runHooksAnyway } = await import('./hooks.js');
      await destroy(folder, record);
      await runHooksAnyway('poststop', record.hooks?.poststop, ociState(record, 'stopped'), warn);
    };
    await startContainer(folder, record, kill, warn);
    return record;
  }

  state(id: string): ContainerState {
    const { folder, record } = this.#open(id);
    return describe(folder, record);
  }

  status(id: string): ContainerStatus {
    const { folder, record } = this.#open(id);
    return statusOf(folder, record);
  }

  /** All containers of the root, by id; what is no container is told to `failed`. */
  list(failed: (failure: ListFailure) => void = () => {}): ContainerState[] {
    return containerIds(this.environment.root).flatMap((id) => {
      try {
        return [this.state(id)];
      } catch (error) {
        // Deleted meanwhile, or being created.
        if (!(error instanceof ContainerNotFoundError)) failed({ id, error });
        return [];
      }
    });
  }

  /** @throws ContainerStatusError, KillError */
  async kill(id: string, signal: number, options: { all: boolean }): Promise<void> {
    const { killContainer } = await import('./kill.js');
    const { folder, record } = this.#open(id);
    killContainer(folder, record, signal, options);
  }

  /** @throws ContainerNotFoundError without `force`, ContainerStatusError, DeleteError, CgroupError */
  async delete(id: string, { force }: { force: boolean }): Promise<void> {
    const folder = this.#folder(id);
    if (!folder.exists) {
      if (force) return;
      throw new ContainerNotFoundError(id, this.environment.root);
    }
    const { deleteContainer, removeFolder } = await import('./delete.js');
    using _lock = await folder.lock();
    const record = folder.readRecord();
    if (record === undefined) {
      // A create that was killed before it had written anything.
      removeFolder(folder);
      if (!force) throw new ContainerNotFoundError(id, this.environment.root);
      return;
    }
    await deleteContainer(folder, record, { force, warn: (message) => this.environment.log.warn(message) });
  }

  /** @returns the exit status */
  async exec(id: string, choose: (spec: OciSpec) => OciProcess, options: ExecOptions): Promise<number> {
    const { execInContainer } = await import('./exec.js');
    const { folder, record } = this.#open(id);
    return await execInContainer(this.environment, folder, record, choose, options);
  }

  /** For whoever executes the plan elsewhere. @throws ContainerNotFoundError */
  find(id: string): { readonly folder: ContainerFolder; readonly record: ContainerRecord } {
    return this.#open(id);
  }

  /** The configuration that the container was created with. */
  async spec(id: string): Promise<OciSpec> {
    const { containerSpec } = await import('./exec.js');
    return containerSpec(this.#open(id).folder);
  }

  /** Ids of the container's processes. @throws ContainerStatusError with neither a cgroup nor a pid namespace of its own */
  async pids(id: string): Promise<number[]> {
    const { record } = this.#open(id);
    const cgroup = cgroupOf(record);
    if (cgroup === undefined && record.ownPidNamespace && record.init !== undefined) {
      const { pidsInNamespaceOf } = await import('./namespace-pids.js');
      return pidsInNamespaceOf(record.init.pid);
    }
    if (cgroup === undefined)
      throw new ContainerStatusError(`container ${id} has no cgroup, so its processes are not known`);
    return cgroup.pids().sort((a, b) => a - b);
  }

  /** The counters of its cgroup. @throws ContainerStatusError, CgroupStatsError */
  stats(id: string): CgroupStats {
    return requireCgroup(this.#open(id).record).stats();
  }

  /** @throws ContainerStatusError, CgroupProcessError */
  async pause(id: string): Promise<void> {
    const { folder, record } = this.#open(id);
    const status = statusOf(folder, record);
    if (status !== 'running' && status !== 'created')
      throw new ContainerStatusError(`container not running: ${status}`);
    await requireCgroup(record).freeze();
  }

  /** @throws ContainerStatusError, CgroupProcessError */
  resume(id: string): void {
    const { folder, record } = this.#open(id);
    const status = statusOf(folder, record);
    if (status !== 'paused') throw new ContainerStatusError(`container not paused: ${status}`);
    requireCgroup(record).thaw();
  }

  /** @throws ContainerStatusError, CgroupLimitError */
  async update(id: string, resources: OciResources): Promise<void> {
    const { folder } = this.#open(id);
    using _lock = await folder.lock();
    const { record } = this.#open(id);
    if (statusOf(folder, record) === 'stopped') throw new ContainerStatusError('container not running');
    // Devices stay as they are: others (GPU plugins) may have changed them since.
    const { devices: _, ...rest } = resources;
    await requireCgroup(record).update(rest);
  }

  /** @throws ContainerStatusError, CheckpointError */
  async checkpoint(id: string, options: CheckpointOptions): Promise<void> {
    const { checkpointContainer } = await import('./checkpoint.js');
    this.#open(id);
    using _lock = await this.#folder(id).lock();
    const { folder, record } = this.#open(id);
    await checkpointContainer(this.environment, folder, record, options);
  }

  /** @returns the exit status: 0 when detached */
  async restore(id: string, options: RestoreOptions): Promise<number> {
    const { restoreContainer } = await import('./restore.js');
    return await restoreContainer(this.environment, id, options);
  }

  /** What `events` needs. */
  record(id: string): ContainerRecord {
    return this.#open(id).record;
  }
}

function requireCgroup(record: ContainerRecord) {
  const cgroup = cgroupOf(record);
  if (cgroup === undefined)
    throw new ContainerStatusError(`container ${record.id} has no cgroup`, {
      hint: 'Without root a container has one only where a cgroup is delegated to the user.',
    });
  return cgroup;
}

function describe(folder: ContainerFolder, record: ContainerRecord): ContainerState {
  const status = statusOf(folder, record);
  const { uid } = statSync(folder.path);
  // In runc's order, for those who look at the text.
  return {
    ociVersion: record.ociVersion,
    id: record.id,
    pid: status === 'stopped' ? 0 : (record.init?.pid ?? 0),
    status,
    bundle: record.bundle,
    rootfs: record.rootfs,
    created: record.created,
    ...(record.annotations === undefined ? {} : { annotations: record.annotations }),
    owner: uid === 0 ? 'root' : `#${uid}`,
  };
}
