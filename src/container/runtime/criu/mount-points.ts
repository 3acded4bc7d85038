/** What criu mounts on must be there: a root file system that was packed again, or another copy of it, may lack what create once made. */
import { closeSync, constants, openSync } from 'node:fs';
import { dirname, posix } from 'node:path';
import {
  byteString,
  mkdirat,
  mknodat,
  O_DIRECTORY,
  O_PATH,
  openat2,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
} from '../../../sys/at.js';
import { ERRNO } from '../../../sys/errno.js';
import { SystemError } from '../../../sys/errors.js';
import { close, lastErrno } from '../../../sys/libc.js';
import type { CheckpointNote } from './external.js';

const S_IFREG = 0o100000;
const RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

/** Makes the missing ones, never outside of `root`. @throws SystemError */
export function makeMountPoints(root: string, points: CheckpointNote['points']): void {
  const fd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    for (const { path, folder } of points) {
      if (isThere(fd, path)) continue;
      if (folder) makeFolder(fd, path);
      else makeFile(fd, path);
    }
  } finally {
    closeSync(fd);
  }
}

function isThere(root: number, path: string): boolean {
  const fd = openat2(root, byteString(path), O_PATH, RESOLVE);
  if (fd === -1) return false;
  close(fd);
  return true;
}

/** With those above it. */
function makeFolder(root: number, path: string): void {
  if (path === '/' || isThere(root, path)) return;
  makeFolder(root, dirname(path));
  inParent(root, path, (parent, name) => mkdirat(parent, name, 0o755));
}

function makeFile(root: number, path: string): void {
  makeFolder(root, dirname(path));
  inParent(root, path, (parent, name) => mknodat(parent, name, S_IFREG | 0o644, 0));
}

function inParent(root: number, path: string, make: (parent: number, name: string) => number): void {
  const parent = openat2(root, byteString(dirname(path)), O_PATH | O_DIRECTORY, RESOLVE);
  if (parent === -1) throw new SystemError('openat2', dirname(path), lastErrno());
  const made = make(parent, byteString(posix.basename(path)));
  const errno = lastErrno();
  close(parent);
  if (made === -1 && errno !== ERRNO.EEXIST) throw new SystemError('mkdirat', path, errno);
}
