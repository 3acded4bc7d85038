/**
 * Network namespaces (network_namespaces(7), setns(2)). Unlike a user namespace, a network namespace belongs to a thread: a thread of a
 * process with many may enter one. So Node's main thread enters it, does one synchronous thing and is back before any other code runs.
 * What is opened inside (a socket) stays inside. A namespace is kept without a process by a bind mount of its file.
 */
import { closeSync, constants, mkdirSync, openSync, rmSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { ERRNO } from './errno.js';
import { SystemError, TvmmError } from './errors.js';
import { FileDescriptor } from './fd.js';
import { bindMount, check, exitNow, lastErrno, setns, umount2, unshare } from './libc.js';

const CLONE_NEWNET = 0x4000_0000;
const MS_BIND = 4096;
const MNT_DETACH = 2;
/** statfs(2)'s f_type of the file system that namespaces' files are on (<linux/magic.h>). */
const NSFS_MAGIC = 0x6e73_6673;
/** Of this thread, not of the process: a Worker may call these as well. */
const OWN = '/proc/thread-self/ns/net';

/** A file that should stand for a network namespace and does not. */
export class NetnsError extends TvmmError {}

/**
 * Runs `action` inside the namespace that `path` names and goes back. `action` must be synchronous.
 *
 * @throws SystemError when the namespace cannot be entered, and whatever `action` throws
 */
export function enterNetns<T>(path: string, action: () => T): T {
  using own = FileDescriptor.open(OWN, constants.O_RDONLY);
  using target = openNetns(path);
  check(setns(target.fd, CLONE_NEWNET), 'setns', path);
  try {
    return action();
  } finally {
    goBack(own);
  }
}

/** Makes a new, empty namespace (lo is down) that `file` keeps alive. @throws SystemError, NetnsError when `file` is one already */
export function createNetns(file: string): void {
  makeMountPoint(file);
  try {
    using own = FileDescriptor.open(OWN, constants.O_RDONLY);
    check(unshare(CLONE_NEWNET), 'unshare', 'CLONE_NEWNET', 'making a network namespace needs CAP_SYS_ADMIN');
    try {
      check(bindMount(OWN, file, null, MS_BIND, null), 'mount', file);
    } finally {
      goBack(own);
    }
  } catch (error) {
    rmSync(file, { force: true });
    throw error;
  }
}

/**
 * Keeps the namespace at `source` (`/proc/PID/ns/net`) alive under `file`, whatever becomes of its processes.
 *
 * @throws SystemError, NetnsError when `source` is no namespace or `file` is taken
 */
export function pinNetns(source: string, file: string): void {
  using target = openNetns(source);
  makeMountPoint(file);
  if (bindMount(`/proc/thread-self/fd/${target.fd}`, file, null, MS_BIND, null) !== -1) return;
  const errno = lastErrno();
  rmSync(file, { force: true });
  throw new SystemError('mount', file, errno);
}

/** Lets go of what {@link createNetns} or {@link pinNetns} made; harmless when it is gone already. @throws SystemError */
export function releaseNetns(file: string): void {
  if (umount2(file, MNT_DETACH) === -1) {
    const errno = lastErrno();
    // EINVAL: a file where nothing is mounted, as a crash between the two steps leaves it.
    if (errno !== ERRNO.EINVAL && errno !== ERRNO.ENOENT) throw new SystemError('umount2', file, errno);
  }
  rmSync(file, { force: true });
}

/** Whether `path` is the file of a namespace right now. */
export function isNetns(path: string): boolean {
  try {
    return statfsSync(path).type === NSFS_MAGIC;
  } catch {
    return false;
  }
}

/** Which namespace a path means: equal for two paths of one namespace; undefined where there is none. */
export function netnsIdentity(path: string): string | undefined {
  if (!isNetns(path)) return undefined;
  const { dev, ino } = statSync(path);
  return `${dev}:${ino}`;
}

/** Whether `path` is this process's own namespace. */
export function isOwnNetns(path: string): boolean {
  return netnsIdentity(path) === netnsIdentity(OWN);
}

/** Opens a namespace. @throws NetnsError for any other file, SystemError */
export function openNetns(path: string): FileDescriptor {
  // Checked before it is opened: a device or a FIFO must not be.
  if (!isNetns(path)) {
    throw new NetnsError(`${path} is no network namespace`, {
      code: 'NOT_A_NETNS',
      hint: 'name a file like /proc/PID/ns/net or /run/netns/NAME; the process may have ended',
    });
  }
  return FileDescriptor.open(path, constants.O_RDONLY);
}

function makeMountPoint(file: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  if (isNetns(file)) {
    throw new NetnsError(`${file} already keeps a network namespace`, { code: 'NETNS_EXISTS' });
  }
  closeSync(openSync(file, constants.O_RDONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o444));
}

function goBack(own: FileDescriptor): void {
  if (setns(own.fd, CLONE_NEWNET) !== -1) return;
  // Everything that this process did from here on would happen in somebody else's network.
  process.stderr.write('tvmm: cannot return to its own network namespace\n');
  exitNow(125);
}
