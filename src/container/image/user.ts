/**
 * Who `USER` is (OCI image-spec, config.md, "User"): numbers, or names from the image's own /etc/passwd and /etc/group. Those files are the
 * image's, so they are opened below its root, may be no pipes or devices, are bounded, and lines that do not parse are no lines.
 */
import { closeSync, fstatSync, readSync } from 'node:fs';
import {
  AT_FDCWD,
  lgetxattr,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  openat,
  openat2,
  procPath,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
} from '../../sys/at.js';
import { close } from '../../sys/libc.js';
import { splitPath } from './entry-path.js';
import { UserError } from './errors.js';

export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  /** Groups that list the user; none when the image names a group itself. */
  readonly additionalGids: readonly number[];
  /** The user's home, or `/` where the image has none for it. */
  readonly home: string;
}

/** Reads a file of the image by its path in there; undefined where there is none. */
export type ImageFileReader = (path: string) => Buffer | undefined;

const O_NONBLOCK = 0o4000;
const MAX_FILE = 16 * 2 ** 20;
const MAX_ID = 0xffff_fffe;

function readBounded(fd: number): Buffer | undefined {
  const stats = fstatSync(fd);
  if (!stats.isFile()) return undefined;
  if (stats.size > MAX_FILE) return undefined;
  const buffer = Buffer.alloc(stats.size);
  let length = 0;
  for (;;) {
    const count = readSync(fd, buffer, length, buffer.length - length, null);
    length += count;
    if (count === 0 || length === buffer.length) return buffer.subarray(0, length);
  }
}

function readBelow(root: number, path: string): Buffer | undefined {
  // O_NONBLOCK: a pipe in the place of the file must not hold us.
  const fd = openat2(root, path, O_NONBLOCK, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  if (fd === -1) return undefined;
  try {
    return readBounded(fd);
  } finally {
    closeSync(fd);
  }
}

/** Reads files of a root that is there: mounted, or a copy. */
export function rootReader(root: string): ImageFileReader {
  return layersReader([root]);
}

/**
 * Reads files through the layers of an overlay that is not mounted, topmost first, as overlayfs would find them: whiteouts and opaque
 * folders hide what is below. (A symbolic link is only followed within its layer.)
 */
export function layersReader(lower: readonly string[]): ImageFileReader {
  return (path) => {
    for (const folder of lower) {
      const root = openat(AT_FDCWD, Buffer.from(folder).toString('latin1'), O_PATH | O_DIRECTORY);
      if (root === -1) continue;
      try {
        const found = readBelow(root, path);
        if (found !== undefined) return found;
        if (hides(root, path)) return undefined;
      } finally {
        close(root);
      }
    }
    return undefined;
  };
}

/** Whether a layer without the file keeps those below from showing it. */
function hides(root: number, path: string): boolean {
  for (let part = path; part !== ''; part = splitPath(part).folder) {
    const fd = openat2(root, part, O_PATH | O_NOFOLLOW, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (fd === -1) continue;
    try {
      const stats = fstatSync(fd);
      // A whiteout, or anything else in the place of the file or of its folder.
      if (!stats.isDirectory()) return true;
      const own = procPath(fd, '.');
      for (const name of ['trusted.overlay.opaque', 'user.overlay.opaque'])
        if (lgetxattr(own, name)?.[0] === 0x79) return true;
    } finally {
      close(fd);
    }
  }
  return false;
}

/** Lines of a colon-separated file with at least `fields` fields. */
function rows(bytes: Buffer | undefined, fields: number): string[][] {
  if (bytes === undefined) return [];
  return bytes
    .toString('utf8')
    .split('\n')
    .map((line) => line.trim().split(':'))
    .filter((row) => row.length >= fields && row[0] !== '' && !row[0]?.startsWith('#'));
}

function idOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

function unknown(kind: 'user' | 'group', name: string, file: string): never {
  throw new UserError(`the image has no ${kind} ${JSON.stringify(name)} in ${file}`, {
    code: kind === 'user' ? 'USER_UNKNOWN' : 'GROUP_UNKNOWN',
    hint: 'Give a number instead, with --user.',
  });
}

/**
 * Resolves `USER[:GROUP]`, each a name or a number; empty is root. A number needs no entry in the files, and takes its group and home
 * from them where it has one.
 *
 * @throws UserError
 */
export function resolveUser(text: string, read: ImageFileReader): ResolvedUser {
  const [user = '', group, ...rest] = text.split(':');
  if (rest.length > 0 || /[\0\n]/.test(text) || (group === '' && text.endsWith(':'))) {
    throw new UserError(`${JSON.stringify(text.slice(0, 100))} is not USER[:GROUP]`, {
      code: 'USER_INVALID',
    });
  }
  const users = rows(read('etc/passwd'), 4);
  const wanted = user === '' ? '0' : user;
  const number = idOf(wanted);
  // A name of digits is one if it is in the file, as for other runtimes.
  const entry = users.find(
    ([name, , uid]) => name === wanted || (number !== undefined && idOf(uid) === number),
  );
  const uid = entry === undefined ? number : idOf(entry[2]);
  if (uid === undefined) unknown('user', wanted, '/etc/passwd');
  const home = entry?.[5]?.startsWith('/') === true ? entry[5] : '/';
  if (group !== undefined) return { uid, gid: groupId(group, read), additionalGids: [], home };
  const gid = idOf(entry?.[3]) ?? 0;
  const name = entry?.[0];
  const additional =
    name === undefined ? [] : rows(read('etc/group'), 4).filter((row) => row[3]?.split(',').includes(name));
  const gids = additional.flatMap((row) => idOf(row[2]) ?? []);
  return { uid, gid, additionalGids: [...new Set(gids)].filter((one) => one !== gid), home };
}

/** A group by name or number. @throws UserError */
function groupId(text: string, read: ImageFileReader): number {
  const entry = rows(read('etc/group'), 3).find(([name]) => name === text);
  return idOf(entry?.[2]) ?? idOf(text) ?? unknown('group', text, '/etc/group');
}
