/**
 * The writing half of copying: entries written below a descriptor. The tree may belong to somebody hostile who changes it meanwhile, so every
 * step is openat2(2) from a descriptor: nothing is ever opened outside the root, through /proc's magic links, or followed where a file
 * of that name was made. Devices, fifos and extended attributes are only made where the caller asks for them.
 */
import { closeSync, constants, fchmodSync, fchownSync, writeSync } from 'node:fs';
import {
  AT_REMOVEDIR,
  fchmodat,
  fsetxattr,
  futimens,
  lchownat,
  linkat,
  lutimensat,
  mkdirat,
  mknodat,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  openat,
  openat2,
  RESOLVE_BENEATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  symlinkat,
  unlinkat,
} from '../../sys/at.js';
import { errnoName } from '../../sys/errors.js';
import { lastErrno } from '../../sys/libc.js';
import { entryPath, printable, splitPath } from '../image/entry-path.js';
import type { TarEntry, TarHandler } from '../image/tar-reader.js';
import { isAllowedXattr } from '../image/xattrs.js';
import { encodeDevice } from './device-number.js';
import { CopyError } from './errors.js';

const INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
const STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
/** File types of mode_t (inode(7)). */
const KINDS = { char: 0o020000, block: 0o060000, fifo: 0o010000 } as const;

function fail(what: string, path: string): never {
  const name = errnoName(lastErrno());
  throw new CopyError(`cannot ${what} ${printable(path)}: ${name}`, { code: name });
}

/** Opens a path inside a root as O_PATH, a link at its end itself. @returns undefined where there is nothing */
export function locate(root: number, path: string, follow = false): number | undefined {
  const fd = openat2(root, path === '' ? '.' : path, O_PATH | (follow ? 0 : O_NOFOLLOW), INSIDE);
  if (fd !== -1) return fd;
  const errno = errnoName(lastErrno());
  if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
  return fail('open', path);
}

export interface WriterOptions {
  /** Owners of what is made; undefined leaves them to the kernel. */
  readonly owner: ((entry: TarEntry) => { uid: number; gid: number }) | undefined;
  /** Bits of modes that are kept. */
  readonly modeMask: number;
  /** Make devices and fifos; otherwise they are left out and counted. */
  readonly special?: boolean;
  /** Set extended attributes that belong to the file. */
  readonly xattrs?: boolean;
  /** Below the folder no link is followed: somebody else may be able to put one there, and the root is the host's. */
  readonly strict?: boolean;
}

/** Writes entries below a folder. */
export class TreeWriter implements TarHandler, Disposable {
  #file = -1;
  #entry: TarEntry | undefined;
  /** Times of folders, which change with what is put in them. */
  readonly #times: { path: string; mtime: TarEntry['mtime'] }[] = [];
  /** Names that were left out. */
  readonly skipped: string[] = [];
  #lostXattrs = 0;
  /** The folder itself, where it must stay the one that was named. */
  #base = -1;

  /** @param root O_PATH descriptor of the root that nothing leaves @param base path of the folder inside it */
  constructor(
    private readonly root: number,
    private readonly base: string,
    private readonly options: WriterOptions,
  ) {}

  #parent(folder: string): number {
    const fd = this.#openParent(folder);
    return fd === -1
      ? fail('open the folder', [this.base, folder].filter((part) => part !== '').join('/'))
      : fd;
  }

  /** @returns -1 with errno set */
  #openParent(folder: string): number {
    if (this.options.strict === true) {
      if (this.#base === -1)
        this.#base = openat2(this.root, this.base === '' ? '.' : this.base, O_PATH | O_DIRECTORY, INSIDE);
      if (this.#base === -1) return -1;
      return openat2(this.#base, folder === '' ? '.' : folder, O_PATH | O_DIRECTORY, STRICT);
    }
    const path = [this.base, folder].filter((part) => part !== '').join('/');
    return openat2(this.root, path === '' ? '.' : path, O_PATH | O_DIRECTORY, INSIDE);
  }

  entry(entry: TarEntry): void {
    const path = entryPath(entry.name);
    this.#entry = entry;
    if (path === '') return;
    const { folder, base } = splitPath(path);
    const parent = this.#parent(folder);
    try {
      this.#make(parent, base, path, entry);
    } finally {
      closeSync(parent);
    }
  }

  #make(parent: number, name: string, path: string, entry: TarEntry): void {
    const mode = entry.mode & this.options.modeMask;
    const owner = this.options.owner?.(entry);
    if (entry.type === 'directory') {
      if (mkdirat(parent, name, mode | 0o700) === -1 && errnoName(lastErrno()) !== 'EEXIST')
        fail('make the folder', path);
      // What is there already may be a link: then it is not the folder that the tree has.
      const made = openat(parent, name, constants.O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (made === -1) fail('open the folder', path);
      try {
        if (owner !== undefined) lchownat(made, '', owner.uid, owner.gid);
        fchmodat(made, '.', mode);
        this.#setXattrs(made, entry);
      } finally {
        closeSync(made);
      }
      this.#times.push({ path, mtime: entry.mtime });
      return;
    }
    const isSpecial = entry.type === 'char' || entry.type === 'block' || entry.type === 'fifo';
    if (isSpecial && this.options.special !== true) {
      this.skipped.push(path);
      return;
    }
    if (unlinkat(parent, name) === -1 && !['ENOENT'].includes(errnoName(lastErrno()))) {
      // An empty folder makes way, a full one does not.
      if (unlinkat(parent, name, AT_REMOVEDIR) === -1) fail('replace', path);
    }
    if (entry.type === 'symlink') {
      if (symlinkat(entry.linkName, parent, name) === -1) fail('make the link', path);
      if (owner !== undefined) lchownat(parent, name, owner.uid, owner.gid);
      lutimensat(parent, name, entry.mtime.seconds, entry.mtime.nanoseconds);
    } else if (entry.type === 'char' || entry.type === 'block' || entry.type === 'fifo') {
      const device = encodeDevice(entry.major, entry.minor);
      if (device === undefined || mknodat(parent, name, KINDS[entry.type] | (mode & 0o777), device) === -1)
        fail('make the device', path);
      // mknod(2) takes the umask away: chmod would follow a link that was put in its place meanwhile.
      if (owner !== undefined) lchownat(parent, name, owner.uid, owner.gid);
    } else if (entry.type === 'hardlink') {
      const target = splitPath(entryPath(entry.linkName));
      const from = this.#parent(target.folder);
      try {
        if (linkat(from, target.base, parent, name) === -1) fail('link', path);
      } finally {
        closeSync(from);
      }
    } else {
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | O_NOFOLLOW;
      this.#file = openat(parent, name, flags, 0o600);
      if (this.#file === -1) fail('make', path);
      if (owner !== undefined) fchownSync(this.#file, owner.uid, owner.gid);
      fchmodSync(this.#file, mode);
    }
  }

  /** After the owner: chown(2) takes capabilities away. */
  #setXattrs(fd: number, entry: TarEntry): void {
    if (this.options.xattrs !== true) return;
    for (const [name, value] of entry.xattrs) {
      if (isAllowedXattr(name) && fsetxattr(fd, name, value) !== -1) continue;
      this.#lostXattrs++;
    }
  }

  /** Attributes that could not be kept: not the file's own, or unknown to this file system. */
  get lostXattrs(): number {
    return this.#lostXattrs;
  }

  /** Sets the folders' times. Call once, after the last entry. */
  finish(): void {
    for (const { path, mtime } of this.#times.reverse()) {
      const { folder, base } = splitPath(path);
      const parent = this.#openParent(folder);
      // Moved meanwhile: its time is somebody else's matter then.
      if (parent === -1) continue;
      lutimensat(parent, base, mtime.seconds, mtime.nanoseconds);
      closeSync(parent);
    }
  }

  data(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && this.#file !== -1; )
      at += writeSync(this.#file, bytes, at, bytes.length - at);
  }

  endEntry(): void {
    if (this.#file === -1) return;
    if (this.#entry !== undefined) {
      const { mtime } = this.#entry;
      this.#setXattrs(this.#file, this.#entry);
      futimens(this.#file, mtime.seconds, mtime.nanoseconds);
    }
    this.#closeFile();
  }

  #closeFile(): void {
    if (this.#file !== -1) closeSync(this.#file);
    this.#file = -1;
  }

  [Symbol.dispose](): void {
    this.#closeFile();
    if (this.#base !== -1) closeSync(this.#base);
    this.#base = -1;
  }
}
