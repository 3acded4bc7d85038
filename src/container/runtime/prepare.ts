/**
 * `create` up to the launch and after it, without the launch itself: the folder, the cgroup, the plan; then what the launch asks the engine to
 * do; then the record. Whoever executes the plan (create.ts, or a client of the resident engine) hands on what the launch says. Until
 * `commit` the record says `creating`, with everything in it that whoever comes after a crash needs to remove what was made.
 */
import { resolve } from 'node:path';
import type { Cgroup } from '../cgroup/cgroup.js';
import { createCgroup } from '../cgroup/create.js';
import { containerDeviceRules } from '../cgroup/device-rules.js';
import { readLayout } from '../cgroup/layout.js';
import { planCgroup } from '../cgroup/state.js';
import type { ConsoleSocket } from '../compile/context.js';
import { compileCreate } from '../compile/create.js';
import { TAG } from '../compile/tags.js';
import type { Plan } from '../plan/plan.js';
import type { OciIdMapping, OciLinux, OciSpec } from '../spec/types.js';
import { type Bundle, readBundle } from './bundle.js';
import { claim } from './claim.js';
import { contextOf, type Wanted } from './create-context.js';
import { destroy, removeFolder as removeLeftFolder } from './delete.js';
import type { RuntimeEnvironment } from './environment.js';
import { CreateError } from './errors.js';
import { runHooks, runHooksAnyway } from './hooks.js';
import { hostFacts } from './host.js';
import type { ContainerLock } from './lock.js';
import { writePidFile } from './pid-file.js';
import { bootId, processInfo } from './process-info.js';
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
  /** Variables on top of the configuration's. */
  readonly environment?: readonly string[];
  /** Wait for `start` before the program runs. */
  readonly waitForStart: boolean;
  /** The launcher stays until the program ends. */
  readonly supervise?: boolean;
}

/**
 * Makes all that a container needs before its first process. On failure nothing of it is left.
 *
 * @throws BundleError, SpecError, ContainerIdError, ContainerExistsError, CgroupError, CompileError, SystemError
 */
export async function prepareCreate(
  environment: RuntimeEnvironment,
  id: string,
  options: PrepareOptions,
): Promise<PreparedCreate> {
  const folder = new ContainerFolder(environment.root, id);
  const bundle = withTerminalSize(readBundle(options.bundle), options.terminalSize);
  const console = options.console?.(bundle.spec.process?.terminal === true);
  const lock = await claim(folder);
  try {
    return await make({
      environment,
      folder,
      bundle,
      options,
      lock,
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

interface Making extends Wanted {
  readonly lock: ContainerLock;
}

async function make(making: Making): Promise<PreparedCreate> {
  const { environment, folder, bundle, options, lock } = making;
  const { spec } = bundle;
  const { linux = {} } = spec;
  const layout = readLayout(environment.caller);
  const request = {
    id: folder.id,
    ...(linux.cgroupsPath === undefined ? {} : { cgroupsPath: linux.cgroupsPath }),
    manager: environment.cgroupManager,
    rootless: environment.rootless,
  };
  let record = newRecord(folder.id, bundle, options);
  let cgroup: Cgroup | undefined;
  try {
    folder.writeConfig(bundle.text);
    record = { ...record, cgroup: planCgroup({ layout, ...request }) };
    folder.writeRecord(record);
    cgroup = createCgroup(layout, {
      ...request,
      ...(record.cgroup === undefined ? {} : { plan: record.cgroup }),
      resources: { ...linux.resources, devices: containerDeviceRules(linux.resources?.devices) },
    });
    record = { ...record, cgroup: cgroup.state };
    const cgroupOwner = cgroupOwnerOf(spec);
    if (cgroupOwner !== undefined) cgroup.giveTo(cgroupOwner.uid, cgroupOwner.gid);
    // Without resctrl the compiler refuses.
    const { resctrl: mount } = hostFacts();
    if (linux.intelRdt !== undefined && mount !== undefined) {
      const { makeResctrl, planResctrl } = await import('./resctrl.js');
      record = { ...record, resctrl: planResctrl(mount, folder.id, linux.intelRdt) };
      folder.writeRecord(record);
      makeResctrl(mount, folder.id, linux.intelRdt);
    }
    if (options.waitForStart) folder.makeFifo(hostIds(linux, { uid: 0, gid: 0 }));
    const { resctrl } = record;
    const context = contextOf({ ...making, ...(resctrl === undefined ? {} : { resctrl }) }, cgroup, layout);
    if (context.seccomp !== undefined)
      environment.log.debug(`seccomp filter flags: ${context.seccomp.flags}`);
    const plan = environment.compile?.(bundle, context) ?? compileCreate(spec, context);
    return new PreparedCreate(environment, folder, spec, options, plan, record, lock);
  } catch (error) {
    await cgroup?.remove();
    if (record.resctrl !== undefined) {
      const { removeResctrl } = await import('./resctrl.js');
      removeResctrl(record.resctrl);
    }
    removeLeftFolder(folder);
    throw error;
  }
}

function newRecord(id: string, { path, rootfs, spec }: Bundle, options: PrepareOptions): ContainerRecord {
  const { hooks, annotations } = spec;
  const later = {
    ...(hooks?.poststart === undefined ? {} : { poststart: hooks.poststart }),
    ...(hooks?.poststop === undefined ? {} : { poststop: hooks.poststop }),
  };
  return {
    ociVersion: spec.ociVersion,
    id,
    bundle: path,
    rootfs,
    created: new Date().toISOString(),
    phase: 'creating',
    ownPidNamespace:
      spec.linux?.namespaces?.some(
        (namespace) => namespace.type === 'pid' && namespace.path === undefined,
      ) === true,
    hasProcess: spec.process !== undefined,
    newKeyring: options.noNewKeyring !== true,
    ...(Object.keys(later).length === 0 ? {} : { hooks: later }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

interface Ids {
  readonly uid: number;
  readonly gid: number;
}

/** The host's ids of a user of the container; undefined without mappings, and where they leave that user out. */
function hostIds({ uidMappings, gidMappings }: OciLinux, { uid, gid }: Ids): Ids | undefined {
  const onHost = (id: number, mappings: readonly OciIdMapping[] = []) => {
    const found = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
    return found === undefined ? undefined : found.hostID + id - found.containerID;
  };
  const ids = { uid: onHost(uid, uidMappings), gid: onHost(gid, gidMappings) };
  return ids.uid === undefined || ids.gid === undefined ? undefined : { uid: ids.uid, gid: ids.gid };
}

/**
 * The host's ids of whoever runs the container's program, where its cgroup of version 2 is to be theirs: in a cgroup namespace of its own, with
 * the cgroup file system mounted writable (config-linux.md, "Cgroup ownership").
 */
export function cgroupOwnerOf({
  process,
  linux = {},
  mounts = [],
}: Pick<OciSpec, 'process' | 'linux' | 'mounts'>): Ids | undefined {
  const own = linux.namespaces?.some(({ type, path }) => type === 'cgroup' && path === undefined) === true;
  const writable = mounts.some(
    ({ destination, source, options = [] }) =>
      source === 'cgroup' && resolve('/', destination) === '/sys/fs/cgroup' && !options.includes('ro'),
  );
  if (!own || !writable) return undefined;
  const user = process?.user ?? { uid: 0, gid: 0 };
  if (linux.namespaces?.some(({ type }) => type === 'user') === true) return hostIds(linux, user);
  return user.uid === 0 ? undefined : { uid: user.uid, gid: user.gid };
}

/** A container that is made but for its processes. Ends with {@link commit} or {@link rollback}. */
export class PreparedCreate {
  #record: ContainerRecord;
  #hooksRun = false;
  #ready = false;

  constructor(
    readonly environment: RuntimeEnvironment,
    readonly folder: ContainerFolder,
    readonly spec: OciSpec,
    readonly options: PrepareOptions,
    readonly plan: Plan,
    record: ContainerRecord,
    readonly lock: ContainerLock,
  ) {
    this.#record = record;
  }

  get record(): ContainerRecord {
    return this.#record;
  }

  /** The first process has everything applied, and is known. The two are told by different processes, in any order. */
  get ready(): boolean {
    return this.#ready && this.#record.init !== undefined;
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
        // A program that had nothing to do may have ended by now: then no process has this start time.
        const { pid, startTime } = processInfo(value) ?? { pid: value, startTime: '0' };
        this.#record = { ...this.#record, init: { pid, startTime, boot: bootId() } };
        this.folder.writeRecord(this.#record);
        return undefined;
      }
      case TAG.prepare:
        await this.#prepare();
        return 0;
      case TAG.ready:
        this.#ready = true;
        return undefined;
      default:
        return undefined;
    }
  }

  async #prepare(): Promise<void> {
    const { hooks, linux } = this.spec;
    if (Object.keys(linux?.netDevices ?? {}).length > 0 && this.#record.init !== undefined) {
      const { moveNetDevices } = await import('../network/net-devices.js');
      moveNetDevices(`/proc/${this.#record.init.pid}/ns/net`, linux?.netDevices ?? {});
    }
    this.#hooksRun = true;
    // The lifecycle has prestart behind the creation of the environment: what reads the state there expects it to be done.
    await runHooks('prestart', hooks?.prestart, ociState(this.#record, 'created'));
    await runHooks('createRuntime', hooks?.createRuntime, ociState(this.#record, 'creating'));
  }

  /** The container is created. @throws CreateError; the caller rolls back then */
  commit(): ContainerRecord {
    if (!this.ready || this.#record.init === undefined)
      throw new CreateError('the container ended while it was being created');
    if (this.options.pidFile !== undefined) writePidFile(this.options.pidFile, this.#record.init.pid);
    this.#record = { ...this.#record, phase: 'created' };
    this.folder.writeRecord(this.#record);
    this.lock[Symbol.dispose]();
    return this.#record;
  }

  /** Takes back everything; failures to do so are told and leave the record for a delete. */
  async rollback(): Promise<void> {
    try {
      await destroy(this.folder, this.#record);
      const { createContainer = [], startContainer = [] } = this.spec.hooks ?? {};
      // Those that init runs itself are not told of.
      if (
        this.#hooksRun ||
        (this.#record.init !== undefined && createContainer.length + startContainer.length > 0)
      )
        await runHooksAnyway(
          'poststop',
          this.spec.hooks?.poststop,
          ociState(this.#record, 'stopped'),
          (message) => this.environment.log.warn(message),
        );
    } catch (error) {
      this.environment.log.warn(error instanceof Error ? error.message : String(error));
    } finally {
      this.lock[Symbol.dispose]();
    }
  }
}
