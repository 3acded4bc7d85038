/** Configurations and a machine for the compiler's tests: nothing in here depends on where they run. */
import { compileSeccomp } from '../../seccomp/compile.js';
import { CAPABILITIES, capabilitySet } from '../../spec/capabilities.js';
import { NAMESPACE_TYPES } from '../../spec/namespaces.js';
import { parseSpec } from '../../spec/parse.js';
import type { OciSpec } from '../../spec/types.js';
import type { CgroupContext, CreateContext, ExecContext, HostFacts } from '../context.js';

const all = capabilitySet(CAPABILITIES);

export const host: HostFacts = {
  lastCapability: 40,
  permitted: all,
  bounding: all,
  namespaces: NAMESPACE_TYPES,
  rootless: false,
  uid: 0,
  gid: 0,
  apparmor: true,
  selinux: false,
};

export const cgroupV2: CgroupContext = {
  tasks: [],
  unified: '/sys/fs/cgroup/tvmm/web',
  hierarchies: [{ type: 'cgroup2', name: '', options: [], folder: '/sys/fs/cgroup/tvmm/web' }],
};

export const cgroupV1: CgroupContext = {
  tasks: ['/sys/fs/cgroup/memory/tvmm/web/tasks', '/sys/fs/cgroup/cpu,cpuacct/tvmm/web/tasks'],
  hierarchies: [
    { type: 'cgroup', name: 'memory', options: ['memory'], folder: '/sys/fs/cgroup/memory/tvmm/web' },
    {
      type: 'cgroup',
      name: 'cpu,cpuacct',
      options: ['cpu', 'cpuacct'],
      folder: '/sys/fs/cgroup/cpu,cpuacct/tvmm/web',
    },
    { type: 'cgroup', name: 'systemd', options: ['name=systemd'], folder: '/sys/fs/cgroup/systemd/tvmm/web' },
  ],
};

export function createContext(members: Partial<CreateContext> = {}): CreateContext {
  return { id: 'web', bundle: '/bundle', host, control: 3, execFifo: '/run/tvmm/web/exec.fifo', ...members };
}

export function execContext(members: Partial<ExecContext> = {}): ExecContext {
  return {
    id: 'web',
    host,
    control: 3,
    pid: 4711,
    namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'],
    ...members,
  };
}

const NEW = ['pid', 'network', 'ipc', 'uts', 'mount'] as const;
const kernelMounts = [
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
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
  },
];

export type Members = Readonly<Record<string, unknown>>;

/** The smallest container that is one. */
export function minimal(members: Members = {}, linux: Members = {}, process: Members = {}): OciSpec {
  return parseSpec({
    ociVersion: '1.2.0',
    root: { path: 'rootfs' },
    process: { args: ['sh'], cwd: '/', user: { uid: 0, gid: 0 }, env: ['PATH=/bin'], ...process },
    mounts: kernelMounts.slice(0, 1),
    linux: { namespaces: NEW.map((type) => ({ type })), ...linux },
    ...members,
  });
}

/** What podman's defaults come to, its volumes and network namespace included. */
export function podmanLike(): OciSpec {
  const capabilities = ['CAP_CHOWN', 'CAP_KILL', 'CAP_NET_BIND_SERVICE', 'CAP_SETGID', 'CAP_SETUID'];
  return parseSpec({
    ociVersion: '1.1.0+dev',
    hostname: '0123456789ab',
    root: { path: '/var/lib/containers/storage/overlay/0/merged', readonly: true },
    process: {
      args: ['nginx', '-g', 'daemon off;'],
      cwd: '/srv/www',
      user: { uid: 101, gid: 101, umask: 0o22, additionalGids: [101] },
      env: ['PATH=/usr/sbin:/usr/bin', 'TERM=xterm', 'container=podman', 'HOME=/root'],
      capabilities: { bounding: capabilities, effective: [], permitted: [], inheritable: [] },
      rlimits: [
        { type: 'RLIMIT_NOFILE', soft: 1_048_576, hard: 1_048_576 },
        { type: 'RLIMIT_NPROC', soft: 4_194_304, hard: 4_194_304 },
      ],
      oomScoreAdj: 0,
      apparmorProfile: 'containers-default',
    },
    mounts: [
      ...kernelMounts,
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      {
        destination: '/dev/mqueue',
        type: 'mqueue',
        source: 'mqueue',
        options: ['nosuid', 'noexec', 'nodev'],
      },
      {
        destination: '/etc/hosts',
        type: 'bind',
        source: '/run/containers/0/hosts',
        options: ['bind', 'rprivate', 'nosuid', 'noexec', 'nodev'],
      },
      {
        destination: '/dev/shm',
        type: 'bind',
        source: '/var/lib/containers/0/shm',
        options: ['bind', 'rprivate', 'nosuid', 'noexec', 'nodev'],
      },
      {
        destination: '/sys/fs/cgroup',
        type: 'cgroup',
        source: 'cgroup',
        options: ['rprivate', 'nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
      },
      {
        destination: '/srv/www',
        type: 'bind',
        source: '/home/me/site',
        options: ['rbind', 'ro', 'rslave', 'rnosuid'],
      },
      {
        destination: '/tmp',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['rw', 'rprivate', 'nosuid', 'nodev', 'tmpcopyup'],
      },
    ],
    hooks: {
      prestart: [{ path: '/usr/libexec/hook' }],
      createContainer: [{ path: '/usr/libexec/in', timeout: 3 }],
    },
    annotations: { 'io.container.manager': 'libpod' },
    linux: {
      namespaces: [
        { type: 'pid' },
        { type: 'network', path: '/run/netns/netns-0' },
        { type: 'ipc' },
        { type: 'uts' },
        { type: 'mount' },
        { type: 'cgroup' },
      ],
      sysctl: { 'net.ipv4.ping_group_range': '0 0' },
      maskedPaths: ['/proc/acpi', '/proc/kcore', '/sys/firmware'],
      readonlyPaths: ['/proc/sys'],
      seccomp: {
        defaultAction: 'SCMP_ACT_ERRNO',
        syscalls: [{ names: ['read', 'write'], action: 'SCMP_ACT_ALLOW' }],
      },
    },
  });
}

/** The compiled profile of a configuration, as its caller gives it. */
export function seccompOf(spec: OciSpec): Pick<CreateContext, 'seccomp'> {
  return spec.linux?.seccomp === undefined ? {} : { seccomp: compileSeccomp(spec.linux.seccomp) };
}

const mapping = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
export const userNamespace: Members = {
  namespaces: [...NEW, 'user', 'cgroup'].map((type) => ({ type })),
  uidMappings: mapping,
  gidMappings: mapping,
};
