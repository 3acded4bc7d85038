/** The config.json that `spec` writes: a shell in a read-only root, with few capabilities; the same start that runc gives. */
import { OCI_VERSION } from '../spec/types.js';

const CAPABILITIES = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];
const CLOSED = ['nosuid', 'noexec', 'nodev'];

const MOUNTS = [
  { destination: '/proc', type: 'proc', source: 'proc' },
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
  { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...CLOSED, 'mode=1777', 'size=65536k'] },
  { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: CLOSED },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...CLOSED, 'ro'] },
  { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: [...CLOSED, 'relatime', 'ro'] },
];

const MASKED = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/sys/firmware',
  '/proc/scsi',
];
const READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

export interface ExampleOptions {
  /** Who asks, where the container shall do without root. */
  readonly rootless?: { readonly uid: number; readonly gid: number };
  /** The machine has cgroup v2 alone: there the container sees its own cgroup as the root, with v1 the host's names, as runc's do. */
  readonly unified: boolean;
}

export function exampleSpec({ rootless, unified }: ExampleOptions): unknown {
  const namespaces = ['pid', 'network', 'ipc', 'uts', 'mount', ...(unified ? ['cgroup'] : [])];
  return {
    ociVersion: OCI_VERSION,
    process: {
      terminal: true,
      user: { uid: 0, gid: 0 },
      args: ['sh'],
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'TERM=xterm'],
      cwd: '/',
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: 'rootfs', readonly: true },
    hostname: 'tvmm',
    mounts: rootless === undefined ? MOUNTS : MOUNTS.map(withoutRoot),
    linux: {
      ...(rootless === undefined
        ? { resources: { devices: [{ allow: false, access: 'rwm' }] } }
        : {
            uidMappings: [{ containerID: 0, hostID: rootless.uid, size: 1 }],
            gidMappings: [{ containerID: 0, hostID: rootless.gid, size: 1 }],
          }),
      namespaces: (rootless === undefined
        ? namespaces
        : [...namespaces.filter((type) => type !== 'network'), 'user']
      ).map((type) => ({ type })),
      maskedPaths: MASKED,
      readonlyPaths: READ_ONLY,
    },
  };
}

/** Without root there is one user to map, and no sysfs to mount for want of a network namespace. */
function withoutRoot(mount: (typeof MOUNTS)[number]): (typeof MOUNTS)[number] {
  if (mount.destination === '/sys')
    return { destination: '/sys', type: 'none', source: '/sys', options: ['rbind', ...CLOSED, 'ro'] };
  const options = mount.options?.filter((option) => !/^[ug]id=/.test(option));
  return options === undefined ? mount : { ...mount, options };
}
