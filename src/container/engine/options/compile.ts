/**
 * A container's options and facts about the host to config.json (OCI runtime-spec). Pure. Secure by default: private namespaces, the
 * default seccomp profile, few capabilities, no new privileges, masked paths, a limit of processes; each is opened by an option of its own.
 */

import { checkHostname } from '../../network/hosts.js';
import type { NetworkMode, NetworkNamespace } from '../../network/mode.js';
import { defaultProfile } from '../../seccomp/default-profile.js';
import type { OciSeccomp } from '../../seccomp/profile.js';
import { OCI_VERSION, type OciMount, type OciSpec } from '../../spec/types.js';
import { OptionError } from '../errors.js';
import { containerCapabilities } from './capabilities.js';
import { containerDevices, type DeviceFacts } from './devices.js';
import { type MountFacts, userMounts } from './mounts.js';
import {
  checkNamespaces,
  containerNamespaces,
  idMappings,
  isPrivateUserns,
  type NamespaceFacts,
} from './namespaces.js';
import type { ContainerOptions } from './options.js';
import { containerArguments, containerEnvironment, containerWorkdir, type ImageDefaults } from './process.js';
import { parseUlimits } from './resources.js';
import { modeOf, placeOf, type RootlessLimits } from './rootless.js';
import { parseSecurityOptions, type SecurityOptions } from './security.js';

/** As the root file system's passwd and group files say. */
export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  readonly home: string;
}

/** What the compiler has to be told about the host and the container. */
export interface SpecFacts extends MountFacts, DeviceFacts, NamespaceFacts {
  readonly id: string;
  /** What the host calls itself. */
  readonly hostname: string;
  /** Absolute path of the root file system. */
  readonly rootPath: string;
  readonly image: ImageDefaults;
  readonly user: ContainerUser;
  /** Files of the engine that become /etc/hosts and the like. */
  readonly etc: { readonly hosts: string; readonly resolvConf: string; readonly hostname: string };
  /** The container's own copy of the launcher, for `--init` and pods, on the host. */
  readonly initPath: string;
  /** First id of the range for `--userns private`. */
  readonly firstId: number | undefined;
  /** What an engine without root lacks; undefined with root. */
  readonly rootless?: RootlessLimits | undefined;
  /** The profile of `--security-opt seccomp=FILE`. */
  readonly seccompProfile: OciSeccomp | undefined;
}

/** Where the little init is bound: in /dev, which is a tmpfs, so that no image is written to. */
export const INIT_IN_CONTAINER = '/dev/tvmm-init';
/** Of terminals, in every distribution. */
const TTY_GROUP = 5;
const DEFAULT_SHM = 64 * 2 ** 20;

const MASKED_PATHS = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** Every container has these, unless something of the user's stands in their place. */
function systemMounts(
  options: ContainerOptions,
  ownNetwork: boolean,
  rootless: RootlessLimits | undefined,
): readonly OciMount[] {
  const access = options.privileged ? 'rw' : 'ro';
  const sysfs: OciMount =
    // sysfs shows a network namespace: the host's cannot be mounted from within a user namespace, only bound.
    (isPrivateUserns(options.userns) || rootless !== undefined) && !ownNetwork
      ? {
          destination: '/sys',
          type: 'bind',
          source: '/sys',
          options: ['rbind', 'nosuid', 'noexec', 'nodev', 'ro', 'rslave'],
        }
      : {
          destination: '/sys',
          type: 'sysfs',
          source: 'sysfs',
          options: ['nosuid', 'noexec', 'nodev', access],
        };
  // As in docker's, who wants no shared memory has no place for it either.
  const shm: readonly OciMount[] =
    options.ipc === 'none'
      ? []
      : [
          {
            destination: '/dev/shm',
            type: 'tmpfs',
            source: 'shm',
            options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${options.shmSize ?? DEFAULT_SHM}`],
          },
        ];
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: [
        ...['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
        ...(rootless === undefined || rootless.ids > TTY_GROUP ? [`gid=${TTY_GROUP}`] : []),
      ],
    },
    ...shm,
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    sysfs,
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: ['nosuid', 'noexec', 'nodev', 'relatime', access],
    },
  ];
}

function engineMounts(options: ContainerOptions, facts: SpecFacts): readonly OciMount[] {
  const file = (destination: string, source: string, extra: readonly string[]): OciMount => ({
    destination,
    type: 'bind',
    source,
    options: ['rbind', 'rprivate', 'nosuid', 'nodev', ...extra],
  });
  return [
    ...(options.noHosts ? [] : [file('/etc/hosts', facts.etc.hosts, ['noexec'])]),
    file('/etc/resolv.conf', facts.etc.resolvConf, ['noexec']),
    ...(options.noHostname ? [] : [file('/etc/hostname', facts.etc.hostname, ['noexec'])]),
    ...(options.init || options.pause ? [file(INIT_IN_CONTAINER, facts.initPath, ['ro'])] : []),
  ];
}

function sysctls(values: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    values.map((value) => {
      const [name = '', setting] = value.split(/=(.*)/s);
      if (setting === undefined || !/^[a-zA-Z0-9_./-]+$/.test(name) || name.includes('..'))
        throw new OptionError('--sysctl', `${JSON.stringify(value)} is not NAME=VALUE`);
      return [name, setting];
    }),
  );
}

/**
 * What everybody may do in a network namespace made for the container, as in docker's: ping(8) without CAP_NET_RAW, and ports below 1024.
 * In a user namespace only groups that it has can be named.
 */
function openNetwork(
  namespace: NetworkNamespace,
  options: ContainerOptions,
  mapped: boolean,
): Record<string, string> {
  if (namespace === undefined || namespace.path !== undefined || options.pod !== undefined) return {};
  return {
    'net.ipv4.ping_group_range': mapped ? '0 0' : '0 2147483647',
    'net.ipv4.ip_unprivileged_port_start': '0',
  };
}

function annotations(values: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    values.map((value) => {
      const [name = '', setting] = value.split(/=(.*)/s);
      if (name === '' || setting === undefined)
        throw new OptionError('--annotation', `${JSON.stringify(value)} is not NAME=VALUE`);
      return [name, setting];
    }),
  );
}

function parseUmask(text: string): number {
  if (/^[0-7]{1,4}$/.test(text) && Number.parseInt(text, 8) <= 0o777) return Number.parseInt(text, 8);
  throw new OptionError('--umask', `${JSON.stringify(text)} is no umask such as 0022`);
}

/** `--network` as an entry of linux.namespaces. */
export function networkOf(
  options: ContainerOptions,
  facts: NamespaceFacts & Pick<SpecFacts, 'rootless'>,
): { mode: NetworkMode; namespace: NetworkNamespace } {
  const mode = modeOf(options, facts.rootless);
  if (options.pod !== undefined) {
    if (options.network.length > 0 || options.publish.length > 0)
      throw new OptionError(
        options.network.length > 0 ? '--network' : '--publish',
        'belongs to the pod: give it to tvmm pod create',
      );
    return { mode: { kind: 'none' }, namespace: { type: 'network' } };
  }
  const namespace: NetworkNamespace =
    mode.kind === 'host'
      ? undefined
      : mode.kind === 'container'
        ? { type: 'network', path: facts.namespacePath(mode.id, 'network') }
        : mode.kind === 'path'
          ? { type: 'network', path: mode.path }
          : { type: 'network' };
  return { mode, namespace };
}

/** The name that a container calls itself by; undefined in the host's or a pod's UTS namespace. */
export function hostnameOf(options: ContainerOptions, id: string, hostsOwn: string): string | undefined {
  if (options.uts === 'host') {
    if (options.hostname !== undefined)
      throw new OptionError('--hostname', 'cannot be combined with --uts host');
    return undefined;
  }
  if (options.uts?.startsWith('container:') === true) {
    if (options.hostname !== undefined)
      throw new OptionError('--hostname', 'belongs to the container whose --uts is joined');
    return undefined;
  }
  if (options.pod !== undefined) return undefined;
  if (options.hostname !== undefined) return checkHostname(options.hostname);
  // In the host's network its name is the one that resolves.
  return options.network[0] === 'host' ? hostsOwn : id.slice(0, 12);
}

/** What is masked and read-only, with what `mask=` and `unmask=` say about it. */
function hiddenPaths({ maskPaths, mask, unmask }: SecurityOptions) {
  const isOpen = (path: string) =>
    unmask.some((one) => one === path || (one.endsWith('/*') && path.startsWith(one.slice(0, -1))));
  const masked = [...(maskPaths ? MASKED_PATHS : []).filter((path) => !isOpen(path)), ...mask];
  const readonly = (maskPaths ? READONLY_PATHS : []).filter((path) => !isOpen(path));
  return {
    ...(masked.length > 0 ? { maskedPaths: masked } : {}),
    ...(readonly.length > 0 ? { readonlyPaths: readonly } : {}),
  };
}

/** Compiles config.json. @throws OptionError and the network's errors for an option that cannot be */
export function compileSpec(options: ContainerOptions, facts: SpecFacts): OciSpec {
  const { mode, namespace } = networkOf(options, facts);
  checkNamespaces(options, mode);
  const security = parseSecurityOptions(options.securityOpt, options.privileged);
  const capabilities = containerCapabilities(options.capAdd, options.capDrop, options.privileged);
  const devices = containerDevices(options.device, options.privileged, facts);
  const own = userMounts(options, facts);
  const taken = new Set(own.map(({ destination }) => destination));
  const mounts = [
    ...[
      ...systemMounts(options, namespace !== undefined || options.pod !== undefined, facts.rootless),
      ...engineMounts(options, facts),
    ].filter(({ destination }) => !taken.has(destination)),
    ...own,
  ];
  const hostname = hostnameOf(options, facts.id, facts.hostname);
  const args = containerArguments(options, facts.image);
  const isRoot = facts.user.uid === 0;
  const mappings =
    isPrivateUserns(options.userns) && facts.firstId !== undefined ? idMappings(facts.firstId) : undefined;
  const rlimits = parseUlimits(options.ulimit);
  const sysctl = {
    ...openNetwork(namespace, options, facts.rootless !== undefined || mappings !== undefined),
    ...sysctls(options.sysctl),
  };
  const shares = own.some(({ options: words = [] }) => words.some((word) => /^r?(shared|slave)$/.test(word)));
  const seccomp =
    security.seccomp === 'unconfined'
      ? undefined
      : security.seccomp === 'default'
        ? defaultProfile(capabilities)
        : facts.seccompProfile;
  return {
    ociVersion: OCI_VERSION,
    process: {
      ...(options.tty ? { terminal: true } : {}),
      user: {
        uid: facts.user.uid,
        gid: facts.user.gid,
        ...(options.umask === undefined ? {} : { umask: parseUmask(options.umask) }),
        ...(facts.user.additionalGids.length > 0 ? { additionalGids: facts.user.additionalGids } : {}),
      },
      args: options.init ? [INIT_IN_CONTAINER, '--init', '--', ...args] : args,
      env: containerEnvironment(options, facts.image, facts.user.home, hostname),
      cwd: containerWorkdir(options, facts.image),
      capabilities: {
        bounding: capabilities,
        // Another user than root gets them from set-uid programs alone.
        permitted: isRoot ? capabilities : [],
        effective: isRoot ? capabilities : [],
        inheritable: [],
        ambient: [],
      },
      ...(rlimits.length > 0 ? { rlimits } : {}),
      noNewPrivileges: security.noNewPrivileges,
      ...(security.apparmor === undefined ? {} : { apparmorProfile: security.apparmor }),
      ...(options.oomScoreAdj === undefined ? {} : { oomScoreAdj: options.oomScoreAdj }),
    },
    root: { path: facts.rootPath, ...(options.readOnly ? { readonly: true } : {}) },
    ...(hostname === undefined ? {} : { hostname }),
    ...(options.domainname === undefined ? {} : { domainname: options.domainname }),
    mounts,
    ...(options.annotation.length > 0 ? { annotations: annotations(options.annotation) } : {}),
    linux: {
      namespaces: containerNamespaces(options, namespace, facts),
      ...(mappings === undefined ? {} : { uidMappings: mappings, gidMappings: mappings }),
      ...(devices.nodes.length > 0 ? { devices: devices.nodes } : {}),
      ...placeOf(options, facts, devices.rules),
      ...(Object.keys(sysctl).length > 0 ? { sysctl } : {}),
      ...(seccomp === undefined ? {} : { seccomp }),
      ...(shares ? { rootfsPropagation: 'rslave' } : {}),
      ...hiddenPaths(security),
    },
  };
}
