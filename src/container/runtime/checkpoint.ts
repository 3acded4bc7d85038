/** `checkpoint`: has criu save a container's processes, and takes the container away unless it shall go on. */
import { readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { delay } from '../../sys/time.js';
import {
  findExternal,
  mountPoints,
  NOTE_FILE,
  noteText,
  outsideStreams,
  parseMountinfo,
} from './criu/external.js';
import { externalNamespaces } from './criu/namespaces.js';
import { CGROUP_MODES, type CgroupMode, type CriuOptions, REQUEST } from './criu/request.js';
import { CriuFolders, CriuSession, explained } from './criu/session.js';
import { destroy } from './delete.js';
import type { RuntimeEnvironment } from './environment.js';
import { CheckpointError, ContainerStatusError } from './errors.js';
import { containerSpec } from './exec.js';
import { runHooksAnyway } from './hooks.js';
import { processInfo } from './process-info.js';
import type { ContainerRecord } from './record.js';
import { cgroupOf, ociState, statusOf } from './status.js';
import type { ContainerFolder } from './store.js';

/** What checkpoint and restore are both told. */
export interface CriuSettings {
  /** The program: `criu` by default. */
  readonly program: string;
  /** Absolute. */
  readonly images: string;
  /** Where criu writes its logs. */
  readonly work: string;
  readonly cgroupMode: CgroupMode;
  /** A network namespace is made, and nothing of it saved or restored. */
  readonly emptyNetwork: boolean;
  /** What criu calls as we do. */
  readonly switches: Pick<
    CriuOptions,
    'tcpEstablished' | 'tcpSkipInFlight' | 'extUnixSk' | 'shellJob' | 'fileLocks' | 'autoDedup' | 'linkRemap'
  >;
}

export interface CheckpointOptions extends CriuSettings {
  readonly leaveRunning: boolean;
  /** Memory alone; the container goes on. */
  readonly preDump: boolean;
  /** Images of a pre-dump, relative to these. */
  readonly parent?: string;
  readonly pageServer?: CriuOptions['pageServer'];
}

const CLONE_NEWNET = 0x4000_0000;
/** Everything that is worth reading when it goes wrong. */
const LOG_LEVEL = 4;
/** How long a parent may take to reap. */
const REAPED_MS = 3000;

/** What a dump and a restore have in common. */
export function commonOptions(settings: CriuSettings, folders: CriuFolders, log: string): CriuOptions {
  return {
    ...settings.switches,
    imagesDirFd: folders.images,
    workDirFd: folders.work,
    logFile: log,
    logLevel: LOG_LEVEL,
    notifyScripts: true,
    orphanPtsMaster: true,
    manageCgroups: true,
    manageCgroupsMode: CGROUP_MODES[settings.cgroupMode],
    ...(settings.emptyNetwork ? { emptyNs: CLONE_NEWNET } : {}),
  };
}

/** A file of settings for criu that goes before ours: the annotation's, or the one that runc reads. */
export function configFile(annotations: Readonly<Record<string, string>> | undefined): CriuOptions {
  const file = annotations?.['org.criu.config'] ?? '/etc/criu/runc.conf';
  return file === '' ? {} : { configFile: file };
}

/** The caller holds the lock. On failure the container goes on. @throws ContainerStatusError, CheckpointError */
export async function checkpointContainer(
  environment: RuntimeEnvironment,
  folder: ContainerFolder,
  record: ContainerRecord,
  options: CheckpointOptions,
): Promise<void> {
  const status = statusOf(folder, record);
  if ((status !== 'running' && status !== 'paused') || record.init === undefined)
    throw new ContainerStatusError(`Container cannot be checkpointed in ${status} state`);
  const action = options.preDump ? 'pre-dump' : 'dump';
  const log = `${action}.log`;
  using folders = new CriuFolders(options.images, options.work, { create: true });
  if (options.preDump) checkTracking(options.program);
  try {
    await explained(action, join(options.work, log), async () => {
      const request: CriuOptions = {
        ...commonOptions(options, folders, log),
        ...configFile(record.annotations),
        ...dumpOptions(folder, record, record.init?.pid ?? 0, options),
      };
      // A worker that is told to go after a pre-dump complains of it.
      using session = new CriuSession(options.program, [], options.preDump);
      await session.request(options.preDump ? REQUEST.preDump : REQUEST.dump, request, async () => {});
    });
  } catch (error) {
    // A criu that was killed leaves them stopped.
    if (status === 'running' && cgroupOf(record)?.freezerState() === 'frozen') cgroupOf(record)?.thaw();
    throw error;
  }
  if (options.leaveRunning || options.preDump) return;
  await destroy(folder, record);
  if (!record.ownPidNamespace) await forgotten(record.init.pid);
  await runHooksAnyway('poststop', record.hooks?.poststop, ociState(record, 'stopped'), (message) =>
    environment.log.warn(message),
  );
}

/** A restore takes the same ids again, which a process has until its parent has heard of its end. */
async function forgotten(pid: number): Promise<void> {
  for (let waited = 0; waited < REAPED_MS && processInfo(pid) !== undefined; waited += 20) await delay(20);
}

/** @throws CheckpointError */
function checkTracking(program: string): void {
  using session = new CriuSession(program);
  if (!session.tracksMemory())
    throw new CheckpointError(
      'a pre-dump is not possible: this kernel does not tell which memory has changed',
      {
        hint: 'It needs CONFIG_MEM_SOFT_DIRTY; checkpoint without --pre-dump.',
      },
    );
}

/** Writes the note for the restore, too. */
function dumpOptions(
  folder: ContainerFolder,
  record: ContainerRecord,
  pid: number,
  { images, leaveRunning, preDump, parent, pageServer }: CheckpointOptions,
): CriuOptions {
  const spec = containerSpec(folder);
  const cgroup = cgroupOf(record);
  const freezeCgroup = cgroup?.paths.freezer ?? cgroup?.unified;
  const lines = parseMountinfo(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
  const mounts = findExternal(lines, spec, (path) => inContainer(pid, path), record.cgroup);
  const streams = outsideStreams(pid, lines);
  if (!preDump) {
    const points = mountPoints(lines, (path) => isFolder(`/proc/${pid}/root${path}`));
    writeFileSync(join(images, NOTE_FILE), noteText({ mounts, streams, points }), { mode: 0o600 });
  }
  return {
    pid,
    root: record.rootfs,
    leaveRunning: leaveRunning && !preDump,
    external: [
      ...mounts.map(({ point }) => `mnt[${point}]:${point}`),
      ...[...new Set(streams)].filter((key) => key.startsWith('file[')),
      ...externalNamespaces(spec),
    ],
    ...(freezeCgroup === undefined ? {} : { freezeCgroup }),
    ...(parent === undefined ? {} : { parentImg: parent }),
    ...(preDump || parent !== undefined ? { trackMem: true } : {}),
    ...(pageServer === undefined ? {} : { pageServer }),
  };
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return true;
  }
}

/** Where a path leads in the container: what its links say, read without following them out of it. */
function inContainer(pid: number, path: string): string {
  const root = `/proc/${pid}/root`;
  let at = '/';
  const left = path.split('/').filter((part) => part !== '');
  for (let links = 0; left.length > 0; ) {
    const next = posix.join(at, left.shift() ?? '');
    const target = linkTarget(root + next);
    if (target === undefined || ++links > 40) at = next;
    else {
      left.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
      if (target.startsWith('/')) at = '/';
    }
  }
  return at;
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
