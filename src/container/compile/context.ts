/**
 * What a plan depends on besides config.json, told by whoever looks at the machine: the compiler itself looks at nothing, so that the same
 * input always gives the same plan.
 */
import type { SeccompProgram } from '../seccomp/compile.js';
import type { NamespaceType } from '../spec/namespaces.js';
import type { Removal } from './removal.js';

/** This machine, as the launcher will find it. */
export interface HostFacts {
  /** /proc/sys/kernel/cap_last_cap */
  readonly lastCapability: number;
  /** Capabilities that the launcher has (CapPrm and CapBnd of /proc/self/status), as bits. */
  readonly permitted: bigint;
  readonly bounding: bigint;
  /** Namespace types below /proc/self/ns. */
  readonly namespaces: readonly NamespaceType[];
  /** No CAP_SYS_ADMIN: containers are made in user namespaces, or not at all. */
  readonly rootless: boolean;
  /** The caller is in a user namespace itself (its uid_map is not the whole range): it is root only for what belongs to that. */
  readonly userNamespace?: boolean;
  /** That user namespace denies setgroups(2) (/proc/self/setgroups). */
  readonly setgroupsDenied?: boolean;
  /** Effective ids of the caller. */
  readonly uid: number;
  readonly gid: number;
  readonly apparmor: boolean;
  readonly selinux: boolean;
  /** Where resctrl is mounted, if it is. */
  readonly resctrl?: string;
}

/** One cgroup hierarchy as the container is to see it below its /sys/fs/cgroup. */
export interface CgroupHierarchy {
  readonly type: 'cgroup' | 'cgroup2';
  /** Folder below the mount's destination (`cpu,cpuacct`, `systemd`, `unified`); empty where the hierarchy is the mount itself (v2). */
  readonly name: string;
  /** Mount options that select a v1 hierarchy: `cpu`, `cpuacct`, `name=systemd`. */
  readonly options: readonly string[];
  /** The container's own cgroup in it, on the host. */
  readonly folder: string;
}

export interface CgroupContext {
  /** Files that a process joins by writing `0` to: `tasks` of v1 hierarchies, `cgroup.procs` where there is no other way. */
  readonly tasks: readonly string[];
  /** The container's cgroup v2 folder: the first process is born in it (CLONE_INTO_CGROUP). */
  readonly unified?: string;
  /** For mounts of type cgroup. */
  readonly hierarchies: readonly CgroupHierarchy[];
}

/** Where the master of the terminal goes. */
export type ConsoleSocket = { readonly path: string } | { readonly descriptor: number };

interface Context {
  /** The container's id. */
  readonly id: string;
  readonly host: HostFacts;
  /** Descriptor of the socket to the engine, as the launcher inherits it: not less than 3 + preserveFds. */
  readonly control: number;
  /** Descriptors from 3 on that the container's program keeps (`--preserve-fds`, LISTEN_FDS). */
  readonly preserveFds?: number;
  readonly console?: ConsoleSocket;
  readonly cgroup?: CgroupContext;
  /** Files of resctrl that the process joins by writing `0` to, in this order: with `linux.intelRdt`. */
  readonly resctrlTasks?: readonly string[];
  /** The compiled `linux.seccomp`. */
  readonly seccomp?: SeccompProgram;
  /** False with `--no-new-keyring`. */
  readonly newKeyring?: boolean;
  /** The user's home in the container, from its /etc/passwd: HOME, unless the configuration sets it. */
  readonly home?: string;
  /** Variables for the program on top of the configuration's (LISTEN_FDS and the like). */
  readonly environment?: readonly string[];
  /** The launcher stays, passes signals on, and ends as the program does. Otherwise it leaves as soon as the first process runs. */
  readonly supervise?: boolean;
  /** Takes what the specification wants to be warnings. */
  readonly warn?: (message: string) => void;
}

export interface CreateContext extends Context {
  /** Absolute path of the bundle's folder. */
  readonly bundle: string;
  /** The fifo that `start` opens for reading: mode 0622, so that the container's user may write. Without it, the program starts at once. */
  readonly execFifo?: string;
  /** The container's folder of the engine's, absolute: what the launcher makes for a moment is made there. */
  readonly scratch?: string;
  /** MS_MOVE and chroot instead of pivot_root: for roots on a ramdisk. */
  readonly noPivot?: boolean;
  /** With `noPivot`: where the host has procfs and sysfs mounted, the innermost first. */
  readonly kernelViews?: readonly string[];
  /** Who writes the id maps of a new user namespace. By default the launcher, unless a rootless caller maps more than itself. */
  readonly idMaps?: 'launcher' | 'engine';
  /** Wait for the engine at {@link TAG.prepare} even where the configuration has no reason to. */
  readonly prepare?: boolean;
  /** The cgroup may not be there yet: it is entered after the answer {@link TAG.cgroup}. */
  readonly cgroupLater?: boolean;
  /** Namespaces that the configuration has by a path and that are the caller's own: what belongs to them is the host's. */
  readonly hostNamespaces?: readonly NamespaceType[];
  /** The launcher is in the container's new network namespace when it gets the plan. Only without a user namespace, which would own it. */
  readonly networkMade?: boolean;
  /** With `supervise`: the launcher removes the container when it has ended. Only where it stays in the host's mount and user namespace. */
  readonly removal?: Removal;
}

export interface ExecContext extends Context {
  /** The container's first process, as the engine sees it. */
  readonly pid: number;
  /** A pidfd of it that the launcher inherits, verified by the engine. Without it the launcher opens one by pid. */
  readonly pidfd?: number;
  /** Namespaces of the container that are not the engine's. */
  readonly namespaces: readonly NamespaceType[];
  /** What the container knows of groups: its user namespace denies setgroups(2). */
  readonly setgroupsDenied?: boolean;
}
