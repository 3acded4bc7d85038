/** The eight namespaces (config-linux.md, "Namespaces"), with their clone flags (linux/sched.h) and their files below /proc/PID/ns. */

export interface NamespaceKind {
  /** CLONE_NEW*: for clone3(2), setns(2) and unshare(2). */
  readonly flag: number;
  readonly flagName: string;
  /** Name below /proc/PID/ns. */
  readonly file: string;
}

export const NAMESPACES = {
  user: { flag: 0x1000_0000, flagName: 'CLONE_NEWUSER', file: 'user' },
  cgroup: { flag: 0x0200_0000, flagName: 'CLONE_NEWCGROUP', file: 'cgroup' },
  ipc: { flag: 0x0800_0000, flagName: 'CLONE_NEWIPC', file: 'ipc' },
  uts: { flag: 0x0400_0000, flagName: 'CLONE_NEWUTS', file: 'uts' },
  network: { flag: 0x4000_0000, flagName: 'CLONE_NEWNET', file: 'net' },
  pid: { flag: 0x2000_0000, flagName: 'CLONE_NEWPID', file: 'pid' },
  mount: { flag: 0x0002_0000, flagName: 'CLONE_NEWNS', file: 'mnt' },
  time: { flag: 0x0000_0080, flagName: 'CLONE_NEWTIME', file: 'time' },
} as const satisfies Readonly<Record<string, NamespaceKind>>;

export type NamespaceType = keyof typeof NAMESPACES;

/** In the order in which they are joined where privileges allow it: the mount namespace last, since it changes what paths mean. */
export const NAMESPACE_TYPES = [
  'user',
  'cgroup',
  'ipc',
  'uts',
  'network',
  'pid',
  'time',
  'mount',
] as const satisfies readonly NamespaceType[];
