/**
 * Cgroups without root: what has been delegated to this user (cgroup-v2.rst, "Delegation"), and handing a container's cgroup to the user
 * inside (config-linux.md, "Cgroup ownership"). v1 cannot be delegated safely, so nothing here speaks of it.
 */
import { accessSync, chownSync, constants, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { CgroupCreateError, cgroupHint, errnoOf } from './errors.js';
import { FolderFiles, readOptional } from './files.js';
import type { CgroupLayout } from './layout.js';
import { words } from './make.js';

/** A subtree that this process may arrange. */
export interface Delegation {
  /** The outermost folder that may be written to. */
  readonly folder: string;
  /** Controllers that it can hand down. */
  readonly controllers: readonly string[];
}

/**
 * The cgroup v2 subtree around this process that is delegated to it; undefined when there is none, and then a rootless container runs
 * in its caller's cgroup, without limits.
 */
export function findDelegation({ v2 }: CgroupLayout): Delegation | undefined {
  if (v2 === undefined) return undefined;
  let found: string | undefined;
  for (let path = v2.own; ; path = posix.dirname(path)) {
    const folder = posix.join(v2.mountPoint, path);
    if (!['.', 'cgroup.procs', 'cgroup.subtree_control'].every((file) => writable(posix.join(folder, file))))
      break;
    found = folder;
    if (path === '/') break;
  }
  if (found === undefined) return undefined;
  return {
    folder: found,
    controllers: words(readOptional(new FolderFiles(found), 'cgroup.controllers')),
  };
}

function writable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Where the kernel does not tell (before 4.15): the list that the specification gives. */
const DELEGATED_FILES = ['cgroup.procs', 'cgroup.subtree_control', 'cgroup.threads'];

/** Gives a v2 cgroup folder, and the files that are safe to give, to a user. @throws CgroupCreateError */
export function giveTo(folder: string, uid: number, gid: number): void {
  let files = DELEGATED_FILES;
  try {
    files = words(readFileSync('/sys/kernel/cgroup/delegate', 'utf8'));
  } catch {
    // The list above then.
  }
  for (const path of [folder, ...files.map((file) => `${folder}/${posix.basename(file)}`)]) {
    try {
      chownSync(path, uid, gid);
    } catch (cause) {
      const errno = errnoOf(cause);
      // Not every cgroup has every one of these files.
      if (errno === 'ENOENT' && path !== folder) continue;
      throw new CgroupCreateError(`cannot give ${path} to user ${uid}: ${errno}`, {
        hint: cgroupHint(errno),
        cause,
      });
    }
  }
}
