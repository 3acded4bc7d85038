/** What the compiler of options has to know of this host: files, devices, other containers' namespaces. Looked up anew for every start. */
import { lstatSync, readdirSync, statSync } from 'node:fs';
import { hostname, release } from 'node:os';
import { join } from 'node:path';
import { resolveProfile } from '../seccomp/docker-profile.js';
import { parseExactJson } from '../seccomp/exact-json.js';
import type { OciSeccomp } from '../seccomp/profile.js';
import { NAMESPACES, type NamespaceType } from '../spec/namespaces.js';
import type { EngineContext } from './context.js';
import { deviceNumbers } from './device-number.js';
import { ContainerStateError, OptionError } from './errors.js';
import { initFile } from './init-file.js';
import { containerCapabilities } from './options/capabilities.js';
import type { ContainerUser, SpecFacts } from './options/compile.js';
import type { HostDevice } from './options/devices.js';
import type { ContainerOptions } from './options/options.js';
import type { ImageDefaults } from './options/process.js';
import { parseSecurityOptions } from './options/security.js';
import { isAlive } from './process.js';
import type { ContainerRecord } from './record.js';
import { rootlessFacts } from './rootless.js';
import { hostFile } from './store.js';
import { VolumeStore } from './volumes/volume-store.js';

function hostDevice(path: string, follow: boolean): HostDevice | undefined {
  try {
    const stat = follow ? statSync(path) : lstatSync(path);
    const type = stat.isCharacterDevice() ? 'c' : stat.isBlockDevice() ? 'b' : undefined;
    if (type === undefined) return undefined;
    return {
      path,
      type,
      ...deviceNumbers(stat.rdev),
      mode: stat.mode & 0o7777,
      uid: stat.uid,
      gid: stat.gid,
    };
  } catch {
    return undefined;
  }
}

/** What every container has of its own, or must not see of the host's. */
const OWN_DEVICES = new Set(['pts', 'shm', 'mqueue', 'fd', 'console', 'ptmx', 'tty']);

function devicesBelow(folder: string, depth: number): HostDevice[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (depth === 0 && OWN_DEVICES.has(entry.name)) return [];
    if (entry.isDirectory() && depth < 3) return devicesBelow(path, depth + 1);
    return hostDevice(path, false) ?? [];
  });
}

/** The namespace of another container's init. @throws ContainerStateError when it does not run */
export function namespacePath(context: EngineContext, word: string, type: NamespaceType): string {
  const other = context.store.read(context.store.resolve(word));
  if (other?.init === undefined || !isAlive(other.init)) {
    throw new ContainerStateError(
      `container ${word} does not run, so its ${type} namespace cannot be joined`,
      {
        code: 'CONTAINER_STATE',
        hint: `tvmm start ${word}`,
      },
    );
  }
  return `/proc/${other.init.pid}/ns/${NAMESPACES[type].file}`;
}

/**
 * The profile that was read when the container was created, in docker's form or the OCI one: its rules for a container with these
 * capabilities on this kernel.
 *
 * @throws OptionError, SeccompProfileError for what is no profile
 */
export function userProfile(options: ContainerOptions): OciSeccomp | undefined {
  if (options.seccompProfile === undefined) return undefined;
  let profile: unknown;
  try {
    profile = parseExactJson(options.seccompProfile);
  } catch {
    throw new OptionError('--security-opt', 'the seccomp profile is not JSON');
  }
  const capabilities = containerCapabilities(options.capAdd, options.capDrop, options.privileged);
  return resolveProfile(profile, { capabilities, kernel: release() });
}

/** A profile that nobody would enforce is refused when the container is made, not when it starts. @throws OptionError */
export function checkAppArmor(options: ContainerOptions): void {
  const { apparmor } = parseSecurityOptions(options.securityOpt, options.privileged);
  if (apparmor === undefined || apparmor === 'unconfined') return;
  if (hostFile('/sys/module/apparmor/parameters/enabled')?.trim() === 'Y') return;
  throw new OptionError(
    '--security-opt',
    `the profile apparmor=${apparmor} cannot be used: this kernel has no AppArmor`,
    'leave it out',
  );
}

/** Whose /etc/hosts and the like a container sees: those of the owner of its network. */
function etcFolder(context: EngineContext, record: ContainerRecord): string {
  const { pod, network } = record.options;
  const joined = /^container:(.+)$/.exec(network[0] ?? '')?.[1];
  const owner = pod ?? joined;
  return join(context.store.folder(owner === undefined ? record.id : context.store.resolve(owner)), 'etc');
}

/** @param rootPath absolute path of the root file system, mounted */
export function specFacts(
  context: EngineContext,
  record: ContainerRecord,
  image: ImageDefaults,
  rootPath: string,
  user: ContainerUser,
): SpecFacts {
  const etc = etcFolder(context, record);
  const { pod } = record.options;
  const volumes = new VolumeStore(context.paths);
  return {
    id: record.id,
    hostname: hostname(),
    rootPath,
    image,
    user,
    etc: {
      hosts: join(etc, 'hosts'),
      resolvConf: join(etc, 'resolv.conf'),
      hostname: join(etc, 'hostname'),
    },
    initPath: initFile(context.store.folder(record.id)),
    firstId: record.firstId,
    rootless: rootlessFacts(),
    seccompProfile: userProfile(record.options),
    volumes: record.volumes,
    volumeData: (name) => volumes.data(name),
    kindOf(path) {
      const stat = statSync(path, { throwIfNoEntry: false });
      return stat === undefined ? undefined : stat.isDirectory() ? 'directory' : 'other';
    },
    device: (path) => hostDevice(path, true),
    allDevices: () => devicesBelow('/dev', 0),
    namespacePath: (word, type) => namespacePath(context, word, type),
    ...(pod === undefined
      ? {}
      : { podNamespace: (type: NamespaceType) => namespacePath(context, pod, type) }),
  };
}
