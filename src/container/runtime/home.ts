/** HOME of the container's user, from the /etc/passwd in its root file system: whose links must not lead out of it, and which is not ours to trust. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { O_CLOEXEC, openat2, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS } from '../../sys/at.js';
import type { OciProcess } from '../spec/types.js';

const MAX_PASSWD_BYTES = 2 ** 20;

/** Undefined where the configuration sets HOME to more than nothing, and where there is no such user. */
export function homeOf(rootfs: string, process: OciProcess | undefined): string | undefined {
  if (process === undefined) return undefined;
  const set = process.env?.findLast((line) => line.startsWith('HOME='));
  if (set !== undefined && set !== 'HOME=') return undefined;
  return homeIn(readPasswd(rootfs), process.user.uid);
}

/** passwd(5): `name:password:uid:gid:comment:home:shell`. */
function homeIn(passwd: string, uid: number): string | undefined {
  for (const line of passwd.split('\n')) {
    const fields = line.split(':');
    const home = fields[5];
    if (fields[2] === String(uid) && home?.startsWith('/') === true) return home;
  }
  return undefined;
}

function readPasswd(rootfs: string): string {
  let root: number;
  try {
    root = openSync(rootfs, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return '';
  }
  try {
    // Not blocking: a fifo could stand there.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY | O_CLOEXEC;
    const fd = openat2(root, 'etc/passwd', flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    return fd === -1 ? '' : readAndClose(fd);
  } finally {
    closeSync(root);
  }
}

function readAndClose(fd: number): string {
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) return '';
    const bytes = Buffer.alloc(Math.min(status.size, MAX_PASSWD_BYTES));
    return bytes.toString('utf8', 0, readSync(fd, bytes));
  } catch {
    return '';
  } finally {
    closeSync(fd);
  }
}
