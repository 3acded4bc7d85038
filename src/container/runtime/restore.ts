/**
 * `restore`: a container whose processes criu makes from the images of a checkpoint. Everything around them is made as for create: the folder,
 * the cgroup with its limits, the record. criu works in a mount namespace of its own, so that nothing stays mounted whatever happens; the
 * container's first process becomes our child, and its supervisor's when we have left.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import type { FileDescriptor } from '../../sys/fd.js';
import { makeRootReadonly, PrivateMounts } from '../../sys/mount-namespace.js';
import { exitStatus, waitPid } from '../../sys/spawn.js';
import { connectUnix, sendDescriptor } from '../../sys/unix-socket.js';
import { readLayout } from '../cgroup/layout.js';
import { type Bundle, readBundle } from './bundle.js';
import { type CriuSettings, commonOptions, configFile } from './checkpoint.js';
import { claim } from './claim.js';
import type { ConsoleProxy } from './console.js';
import { checkTerminal } from './create.js';
import { type CheckpointNote, NOTE_FILE, parseNote, sourceOf } from './criu/external.js';
import { makeMountPoints } from './criu/mount-points.js';
import { RestoredNamespaces } from './criu/namespaces.js';
import { type CriuOptions, type CriuResponse, REQUEST } from './criu/request.js';
import { CriuFolders, CriuSession, explained } from './criu/session.js';
import { destroy, removeFolder } from './delete.js';
import type { RuntimeEnvironment } from './environment.js';
import { CheckpointError, ContainerNotFoundError, errnoOf } from './errors.js';
import { SignalForwarder } from './foreground.js';
import { Furnishing } from './furnishing.js';
import { runHooks, runHooksAnyway } from './hooks.js';
import { writePidFile } from './pid-file.js';
import { openPidfd } from './pidfd.js';
import { bootId, processInfo } from './process-info.js';
import type { ContainerRecord } from './record.js';
import { ociState } from './status.js';
import { ContainerFolder } from './store.js';

export interface RestoreOptions extends CriuSettings {
  readonly bundle: string;
  readonly detach: boolean;
  readonly consoleSocket?: string;
  readonly pidFile?: string;
  readonly lsmProfile?: string;
  readonly lsmMountContext?: string;
}

const LOG = 'restore.log';
/** In the container's folder: where criu finds the root file system mounted. */
const ROOT = 'criu-root';

/**
 * Returns when the container runs, or without `detach` when it has ended and is deleted.
 *
 * @returns the exit status: 0 when detached
 * @throws BundleError, SpecError, ContainerExistsError, CgroupError, CheckpointError, HookError; nothing is left then
 */
export async function restoreContainer(
  environment: RuntimeEnvironment,
  id: string,
  options: RestoreOptions,
): Promise<number> {
  const folder = new ContainerFolder(environment.root, id);
  const bundle = readBundle(options.bundle);
  checkTerminal(bundle.spec.process?.terminal === true, options.detach, options.consoleSocket);
  const note = readNote(options.images);
  using signals = options.detach ? undefined : new SignalForwarder();
  const restoration = new Restoration(environment, folder, bundle, note, options);
  let record: ContainerRecord;
  {
    using _lock = await claim(folder);
    record = await restoration.run();
  }
  const { init } = record;
  if (options.detach || init === undefined) return 0;
  if (signals !== undefined) signals.target = init.pid;
  const status = await stay(init.pid, init.startTime, restoration.console);
  await removeEnded(environment, folder, record);
  return status;
}

function readNote(images: string): CheckpointNote {
  const path = join(images, NOTE_FILE);
  try {
    return parseNote(readFileSync(path, 'utf8'), path);
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    throw new CheckpointError(`there is no checkpoint in ${images}: ${path}: ${errnoOf(cause)}`, {
      hint: 'Name the folder of a checkpoint of this runtime with --image-path.',
      cause,
    });
  }
}

/** One restore, from the folder to the running process, or back. */
class Restoration {
  /** The terminal's master side, for a container in the foreground. */
  console: ConsoleProxy | undefined;
  #record: ContainerRecord | undefined;
  #hooksRun = false;

  constructor(
    readonly environment: RuntimeEnvironment,
    readonly folder: ContainerFolder,
    readonly bundle: Bundle,
    readonly note: CheckpointNote,
    readonly options: RestoreOptions,
  ) {}

  async run(): Promise<ContainerRecord> {
    const { folder, bundle, options } = this;
    try {
      const { cgroup, record } = await this.#furnish();
      this.#record = record;
      mkdirSync(join(folder.path, ROOT), { mode: 0o755 });
      makeMountPoints(bundle.rootfs, this.note.points);
      await explained('restore', join(options.work, LOG), async () => {
        using namespaces = new RestoredNamespaces(bundle.spec);
        const { session, folders } = this.#startCriu(namespaces.descriptors);
        using _session = session;
        using _folders = folders;
        cgroup.attach(session.pid);
        const request = this.#request(record, folders, namespaces, session.pid);
        await session.request(REQUEST.restore, request, (response, fd) => this.#notified(response, fd));
      });
      return this.#commit();
    } catch (error) {
      if (this.#record === undefined) removeFolder(this.folder);
      else await this.#rollback(this.#record);
      throw error;
    }
  }

  async #furnish(): Promise<Furnishing> {
    const { environment, folder, bundle } = this;
    const layout = readLayout(environment.caller);
    const furnishing = new Furnishing(environment, folder, bundle, { noNewKeyring: true }, layout);
    try {
      const { intelRdt } = bundle.spec.linux ?? {};
      if (intelRdt !== undefined)
        furnishing.resctrl = (await import('./resctrl.js')).classOfService(folder.id, intelRdt);
      furnishing.finish();
      return furnishing;
    } catch (error) {
      await furnishing.undo();
      throw error;
    }
  }

  /** Where criu is, the root file system is a mount, and one that nobody else sees. It can mount below folders only that were opened there. */
  #startCriu(descriptors: readonly number[]): { session: CriuSession; folders: CriuFolders } {
    using mounts = new PrivateMounts();
    mounts.bind(this.bundle.rootfs, join(this.folder.path, ROOT));
    const { images, work, program } = this.options;
    const folders = new CriuFolders(images, work, { create: false });
    try {
      return { session: new CriuSession(program, descriptors), folders };
    } catch (error) {
      folders[Symbol.dispose]();
      throw error;
    }
  }

  #request(
    record: ContainerRecord,
    folders: CriuFolders,
    namespaces: RestoredNamespaces,
    criu: number,
  ): CriuOptions {
    const { bundle, note, options } = this;
    const { lsmProfile, lsmMountContext } = options;
    const streams = note.streams.flatMap((key, fd) =>
      key === '' || note.streams.indexOf(key) !== fd ? [] : [{ key, fd }],
    );
    return {
      ...commonOptions(options, folders, LOG),
      ...configFile(bundle.spec.annotations),
      root: join(this.folder.path, ROOT),
      rstSibling: true,
      evasiveDevices: true,
      external: note.mounts.map(
        (mount) => `mnt[${mount.point}]:${sourceOf(mount, bundle.spec, bundle.path, record.cgroup)}`,
      ),
      inherited: [
        ...streams,
        ...namespaces.keys.map((key, index) => ({ key, fd: CriuSession.numberOf(index) })),
      ],
      joined: namespaces.joined,
      cgroupRoots: cgroupsOf(criu),
      ...(lsmProfile === undefined ? {} : { lsmProfile }),
      ...(lsmMountContext === undefined ? {} : { lsmMountContext }),
    };
  }

  async #notified({ script, pid }: CriuResponse, descriptor: FileDescriptor | undefined): Promise<void> {
    if (script === 'orphan-pts-master' && descriptor !== undefined) await this.#giveTerminal(descriptor);
    if (pid === undefined || this.#record === undefined) return;
    if (script === 'setup-namespaces') {
      this.#know(pid);
      const { hooks } = this.bundle.spec;
      this.#hooksRun = true;
      await runHooks('prestart', hooks?.prestart, ociState(this.#record, 'created'));
      await runHooks('createRuntime', hooks?.createRuntime, ociState(this.#record, 'creating'));
    } else if (script === 'post-restore') {
      this.#know(pid);
      // criu keeps the attributes of every mount but this one, and must be able to write to it until here.
      if (this.bundle.spec.root.readonly === true) makeRootReadonly(`/proc/${pid}/ns/mnt`);
    }
  }

  /** From here on whoever finds the record knows what to end. */
  #know(pid: number): void {
    const info = processInfo(pid);
    if (info === undefined || this.#record === undefined) return;
    this.#record = { ...this.#record, init: { pid, startTime: info.startTime, boot: bootId() } };
    this.folder.writeRecord(this.#record);
  }

  async #giveTerminal(master: FileDescriptor): Promise<void> {
    const { consoleSocket } = this.options;
    if (consoleSocket !== undefined) {
      using socket = connectUnix(consoleSocket);
      sendDescriptor(socket.fd, master.fd, Buffer.from('/dev/ptmx'));
      return;
    }
    const { ConsoleProxy } = await import('./console.js');
    this.console = new ConsoleProxy(master.duplicate());
  }

  #commit(): ContainerRecord {
    if (this.#record?.init === undefined)
      throw new CheckpointError('criu restore failed: it has not told the first process', { hint: '' });
    this.#record = { ...this.#record, phase: 'created' };
    if (this.options.pidFile !== undefined) writePidFile(this.options.pidFile, this.#record.init?.pid ?? 0);
    this.folder.writeRecord(this.#record);
    return this.#record;
  }

  async #rollback(record: ContainerRecord): Promise<void> {
    await this.console?.[Symbol.asyncDispose]();
    try {
      await destroy(this.folder, record);
      if (this.#hooksRun) await this.#poststop(record);
    } catch (error) {
      this.environment.log.warn(error instanceof Error ? error.message : String(error));
    }
  }

  async #poststop(record: ContainerRecord): Promise<void> {
    await runHooksAnyway('poststop', record.hooks?.poststop, ociState(record, 'stopped'), (message) =>
      this.environment.log.warn(message),
    );
  }
}

/** Where a process is in each hierarchy. */
function cgroupsOf(pid: number): NonNullable<CriuOptions['cgroupRoots']> {
  return readFileSync(`/proc/${pid}/cgroup`, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
      return path === undefined || controllers === undefined
        ? []
        : controllers.split(',').map((controller) => ({ controller, path }));
    });
}

/** Until the first process has ended. @returns its exit status */
async function stay(pid: number, startTime: string, console: ConsoleProxy | undefined): Promise<number> {
  await using _console = console;
  {
    using pidfd = openPidfd({ pid, startTime });
    await new Promise<void>((resolve) => {
      const handle = koffi.node.poll(pidfd.fd, { readable: true }, () => {
        handle.close();
        resolve();
      });
    });
  }
  return exitStatus(waitPid(pid) ?? 0);
}

async function removeEnded(
  environment: RuntimeEnvironment,
  folder: ContainerFolder,
  record: ContainerRecord,
): Promise<void> {
  try {
    using _lock = await folder.lock();
    await destroy(folder, record);
  } catch (error) {
    // Somebody else has deleted it.
    if (error instanceof ContainerNotFoundError) return;
    throw error;
  }
  await runHooksAnyway('poststop', record.hooks?.poststop, ociState(record, 'stopped'), (message) =>
    environment.log.warn(message),
  );
}
