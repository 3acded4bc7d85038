/**
 * The reading half of copying: gives a tree to a handler as tar entries, folders before what is in them. The tree may belong to somebody hostile
 * who changes it meanwhile: every step is from a descriptor, no link is followed, and a file has exactly the bytes that its entry says.
 * Sockets have no place in a tar stream and are left out.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, type Stats } from 'node:fs';
import { O_NOFOLLOW, O_PATH, openat, procPath, readlinkat } from '../../sys/at.js';
import { xattrNames, xattrValue } from '../../sys/xattr.js';
import { printable } from '../image/entry-path.js';
import type { TarEntry, TarHandler } from '../image/tar-reader.js';
import { isAllowedXattr } from '../image/xattrs.js';
import { deviceNumbers } from './device-number.js';
import { CopyError } from './errors.js';

const CHUNK = 256 * 1024;
/** Descriptors are held on the way down. */
const MAX_DEPTH = 512;
const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map();

export interface WalkOptions {
  /** Devices and fifos as well. */
  readonly special?: boolean;
  /** Extended attributes as well, those that belong to the file alone. */
  readonly xattrs?: boolean;
  /** Owners as they are to be written down. */
  readonly owner?: (found: { uid: number; gid: number }) => { uid: number; gid: number };
  /** Called when a folder has been given and nothing in it yet. */
  readonly inFolder?: (fd: number, name: string) => void;
  /** What to leave out, by its name in the stream. */
  readonly skip?: (name: string) => boolean;
}

/**
 * Gives a tree to a handler.
 *
 * @param fd O_PATH descriptor of the tree's top
 * @param name of the top; empty for the contents of a folder alone
 */
export function walk(fd: number, name: string, handler: TarHandler, options: WalkOptions = {}): void {
  new Walk(handler, options).visit(fd, name, 0);
}

class Walk {
  /** Names of files that have more than one, by device and inode. */
  readonly #seen = new Map<string, string>();

  constructor(
    private readonly handler: TarHandler,
    private readonly options: WalkOptions,
  ) {}

  visit(fd: number, name: string, depth: number): void {
    if (depth > MAX_DEPTH)
      throw new CopyError(`${printable(name)} is nested too deeply`, { code: 'COPY_DEPTH' });
    if (name !== '' && this.options.skip?.(name) === true) return;
    const stat = fstatSync(fd);
    if (stat.isDirectory()) this.#folder(fd, name, stat, depth);
    else if (stat.isSymbolicLink()) this.#plain(fd, name, stat, 'symlink', readlinkat(fd, '') ?? '');
    else if (stat.isFile()) this.#file(fd, name, stat);
    else if (this.options.special === true) this.#special(fd, name, stat);
  }

  #folder(fd: number, name: string, stat: Stats, depth: number): void {
    if (name !== '') this.#plain(fd, name, stat, 'directory');
    this.options.inFolder?.(fd, name);
    for (const child of readdirSync(procPath(fd), 'latin1').sort()) {
      const below = openat(fd, child, O_PATH | O_NOFOLLOW);
      // Removed meanwhile.
      if (below === -1) continue;
      try {
        this.visit(below, name === '' ? child : `${name}/${child}`, depth + 1);
      } finally {
        closeSync(below);
      }
    }
  }

  #file(fd: number, name: string, stat: Stats): void {
    const key = `${stat.dev}:${stat.ino}`;
    const first = stat.nlink > 1 ? this.#seen.get(key) : undefined;
    if (first !== undefined) {
      this.#plain(fd, name, stat, 'hardlink', first);
      return;
    }
    if (stat.nlink > 1) this.#seen.set(key, name);
    this.handler.entry(this.#entry(fd, name, stat, 'file', '', stat.size));
    copyOut(fd, stat.size, this.handler);
    this.handler.endEntry();
  }

  #special(fd: number, name: string, stat: Stats): void {
    if (stat.isFIFO()) this.#plain(fd, name, stat, 'fifo');
    else if (stat.isCharacterDevice()) this.#plain(fd, name, stat, 'char');
    else if (stat.isBlockDevice()) this.#plain(fd, name, stat, 'block');
  }

  #plain(fd: number, name: string, stat: Stats, type: TarEntry['type'], linkName = ''): void {
    this.handler.entry(this.#entry(fd, name, stat, type, linkName));
    this.handler.endEntry();
  }

  #entry(
    fd: number,
    name: string,
    stat: Stats,
    type: TarEntry['type'],
    linkName: string,
    size = 0,
  ): TarEntry {
    const isDevice = type === 'char' || type === 'block';
    const keeps = this.options.xattrs === true && (type === 'file' || type === 'directory');
    return {
      name,
      type,
      size,
      linkName,
      mode: stat.mode & 0o7777,
      ...(this.options.owner?.({ uid: stat.uid, gid: stat.gid }) ?? { uid: stat.uid, gid: stat.gid }),
      mtime: { seconds: Math.floor(stat.mtimeMs / 1000), nanoseconds: nanosecondsOf(stat.mtimeMs) },
      ...(isDevice ? deviceNumbers(stat.rdev) : { major: 0, minor: 0 }),
      xattrs: keeps ? xattrsOf(fd) : NO_XATTRS,
    };
  }
}

function nanosecondsOf(milliseconds: number): number {
  const whole = Math.floor(milliseconds / 1000) * 1000;
  return Math.floor(milliseconds - whole) * 1e6;
}

function xattrsOf(fd: number): ReadonlyMap<string, Buffer> {
  const names = xattrNames(fd).filter(isAllowedXattr);
  if (names.length === 0) return NO_XATTRS;
  return new Map(
    names.flatMap((name) => {
      const value = xattrValue(fd, name);
      return value === undefined ? [] : [[name, value] as const];
    }),
  );
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
