/**
 * The two halves of copying: a tree read below a descriptor, and entries written below one. Both sides may belong to somebody hostile who changes
 * it meanwhile, so every step is openat2(2) from a descriptor: nothing is ever opened outside the root, through /proc's magic links, or
 * followed where a file of that name was made. What is special (devices, sockets) is left out.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  openSync,
  readdirSync,
  readSync,
  writeSync,
} from 'node:fs';
import {
  AT_REMOVEDIR,
  fchmodat,
  futimens,
  lchownat,
  linkat,
  mkdirat,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  openat,
  openat2,
  procPath,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  readlinkat,
  symlinkat,
  unlinkat,
} from '../../sys/at.js';
import { errnoName } from '../../sys/errors.js';
import { lastErrno } from '../../sys/libc.js';
import { entryPath, printable, splitPath } from '../image/entry-path.js';
import type { TarEntry, TarHandler } from '../image/tar-reader.js';
import { CopyError } from './errors.js';

const INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
const CHUNK = 256 * 1024;
/** Descriptors are held on the way down. */
const MAX_DEPTH = 512;

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

const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map();

/**
 * Gives a tree to a handler, folders before what is in them.
 *
 * @param fd O_PATH descriptor of the tree's top
 * @param name of the top; empty for the contents of a folder alone
 */
export function walk(fd: number, name: string, handler: TarHandler, depth = 0): void {
  if (depth > MAX_DEPTH)
    throw new CopyError(`${printable(name)} is nested too deeply`, { code: 'COPY_DEPTH' });
  const stat = fstatSync(fd);
  const entry = (type: TarEntry['type'], size = 0, linkName = ''): TarEntry => ({
    name,
    type,
    size,
    linkName,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    mtime: { seconds: Math.floor(stat.mtimeMs / 1000), nanoseconds: Math.floor(stat.mtimeMs % 1000) * 1e6 },
    major: 0,
    minor: 0,
    xattrs: NO_XATTRS,
  });
  if (stat.isDirectory()) {
    if (name !== '') {
      handler.entry(entry('directory'));
      handler.endEntry();
    }
    for (const child of readdirSync(procPath(fd), 'latin1').sort()) {
      const below = openat(fd, child, O_PATH | O_NOFOLLOW);
      // Removed meanwhile.
      if (below === -1) continue;
      try {
        walk(below, name === '' ? child : `${name}/${child}`, handler, depth + 1);
      } finally {
        closeSync(below);
      }
    }
  } else if (stat.isSymbolicLink()) {
    handler.entry(entry('symlink', 0, readlinkat(fd, '') ?? ''));
    handler.endEntry();
  } else if (stat.isFile()) {
    handler.entry(entry('file', stat.size));
    copyOut(fd, stat.size, handler);
    handler.endEntry();
  }
}

/** Exactly `size` bytes, as the entry has said: a file that shrinks meanwhile is filled up with zeros. */
function copyOut(fd: number, size: number, handler: TarHandler): void {
  const file = openSync(procPath(fd), constants.O_RDONLY | constants.O_NOCTTY);
  try {
    const chunk = Buffer.alloc(Math.min(CHUNK, Math.max(size, 1)));
    for (let left = size; left > 0; ) {
      const got = readSync(file, chunk, 0, Math.min(left, chunk.length), null);
      if (got === 0) chunk.fill(0);
      const length = got === 0 ? Math.min(left, chunk.length) : got;
      handler.data(chunk.subarray(0, length));
      left -= length;
    }
  } finally {
    closeSync(file);
  }
}

export interface WriterOptions {
  /** Owners of what is made; undefined leaves them to the kernel. */
  readonly owner: ((entry: TarEntry) => { uid: number; gid: number }) | undefined;
  /** Bits of modes that are kept. */
  readonly modeMask: number;
}

/** Writes entries below a folder. */
export class TreeWriter implements TarHandler, Disposable {
  #file = -1;
  #entry: TarEntry | undefined;
  /** Names that were left out. */
  readonly skipped: string[] = [];

  /** @param root O_PATH descriptor of the root that nothing leaves @param base path of the folder inside it */
  constructor(
    private readonly root: number,
    private readonly base: string,
    private readonly options: WriterOptions,
  ) {}

  #parent(folder: string): number {
    const path = [this.base, folder].filter((part) => part !== '').join('/');
    const fd = openat2(this.root, path === '' ? '.' : path, O_PATH | O_DIRECTORY, INSIDE);
    return fd === -1 ? fail('open the folder', path) : fd;
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
      const made = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
      if (made === -1) fail('open the folder', path);
      try {
        if (owner !== undefined) lchownat(made, '', owner.uid, owner.gid);
        fchmodat(made, '.', mode);
      } finally {
        closeSync(made);
      }
      return;
    }
    if (entry.type !== 'file' && entry.type !== 'symlink' && entry.type !== 'hardlink') {
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

  data(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && this.#file !== -1; )
      at += writeSync(this.#file, bytes, at, bytes.length - at);
  }

  endEntry(): void {
    if (this.#file === -1) return;
    const { mtime } = this.#entry ?? {};
    if (mtime !== undefined) futimens(this.#file, mtime.seconds, mtime.nanoseconds);
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#file !== -1) closeSync(this.#file);
    this.#file = -1;
  }
}
