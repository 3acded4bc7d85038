/**
 * Removes trees that others have made, however deep: programs in containers can nest folders further than any path reaches (PATH_MAX, 4096
 * bytes), where node:fs gives up. Nobody may change the tree meanwhile. Never follows a link.
 */
import { chmodSync, closeSync, lstatSync, readdirSync, renameSync, rmdirSync, rmSync } from 'node:fs';
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  byteString,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  openat,
  procPath,
  unlinkat,
} from './at.js';
import { SystemError } from './errors.js';
import { check, lastErrno } from './libc.js';

const ENOENT = 2;

/** Removes a file or a tree; what is not there is fine. @throws SystemError, and what node:fs throws */
export function removeTreeSync(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch (error) {
    if (!isTooLong(error)) throw error;
    removeDeepTree(path);
  }
}

/** Whether node:fs has failed for a path that is too long, or for its own recursion. */
export function isTooLong(error: unknown): boolean {
  if (error instanceof RangeError) return true;
  return error instanceof Error && 'code' in error && error.code === 'ENAMETOOLONG';
}

/** The same without asking node:fs first: every folder is moved up to the top, and emptied there. @throws SystemError */
export function removeDeepTree(path: string): void {
  const top = openFolder(AT_FDCWD, byteString(path));
  try {
    let moved = 0;
    for (let names = list(top); names.length > 0; names = list(top)) {
      for (const name of names) {
        if (!lstatSync(bytes(top, name)).isDirectory()) {
          check(unlinkat(top, name), 'unlinkat', path);
          continue;
        }
        const folder = openFolder(top, name);
        try {
          for (const below of list(folder)) {
            if (unlinkat(folder, below) !== -1) continue;
            // Moving a folder changes it, as its `..` does.
            closeSync(openFolder(folder, below));
            renameSync(
              bytes(folder, below),
              bytes(
                top,
                freeName(top, () => `${moved++}`),
              ),
            );
          }
        } finally {
          closeSync(folder);
        }
        check(unlinkat(top, name, AT_REMOVEDIR), 'rmdir', path);
      }
    }
  } finally {
    closeSync(top);
  }
  rmdirSync(path);
}

/** Opens and unlocks it: its owner may be locked out. */
function openFolder(at: number, name: string): number {
  const fd = check(openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW), 'open', name);
  chmodSync(procPath(fd), 0o700);
  return fd;
}

function list(folder: number): string[] {
  return readdirSync(procPath(folder, '.'), 'latin1');
}

function bytes(folder: number, name: string): Buffer {
  return Buffer.from(procPath(folder, name), 'latin1');
}

/** The tree may have names like ours. */
function freeName(folder: number, next: () => string): string {
  for (;;) {
    const name = next();
    const fd = openat(folder, name, O_PATH | O_NOFOLLOW);
    if (fd === -1) {
      if (lastErrno() === ENOENT) return name;
      throw new SystemError('open', name, lastErrno());
    }
    closeSync(fd);
  }
}
