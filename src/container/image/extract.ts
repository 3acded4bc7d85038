/**
 * Unpacks a layer (OCI image-spec, layer.md) into a folder that nobody else writes to. Whiteouts become overlayfs' own (a 0:0 device,
 * the `opaque` attribute), or are carried out at once for a plain copy. The layer is hostile: names are checked, parents resolved inside
 * the root, sizes and counts bounded, attributes that would steer overlayfs left out. What fails, fails with the entry's name.
 */
import { closeSync, fchmodSync, fchownSync, writeSync } from 'node:fs';
import {
  fchmodat,
  fsetxattr,
  futimens,
  lchownat,
  linkat,
  lsetxattr,
  lutimensat,
  mkdirat,
  mknodat,
  O_DIRECTORY,
  O_NOFOLLOW,
  openat,
  openat2,
  procPath,
  RESOLVE_IN_ROOT,
  symlinkat,
} from '../../sys/at.js';
import { SystemError } from '../../sys/errors.js';
import { check, lastErrno } from '../../sys/libc.js';
import { entryPath, markerOf, printable, splitPath } from './entry-path.js';
import { LayerError, NO_ROOM, TarError } from './errors.js';
import { LayerNotes } from './layer-notes.js';
import { LayerRoot, type LowerFolder } from './layer-root.js';
import { mapOwner, type OwnerMap } from './owners.js';
import type { TarEntry, TarHandler } from './tar-reader.js';
import { isAllowedXattr, mapXattr } from './xattrs.js';

/** <linux/stat.h>, open(2). */
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const S_IFIFO = 0o010000;
const O_WRONLY = 1;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const EEXIST = 17;
const EPERM = 1;
const ENOTSUP = 95;
const ENOSPC = 28;
/** An entry costs memory here and an inode there; the largest real images stay below a tenth. */
const MAX_ENTRIES = 5_000_000;

export interface ExtractOptions {
  /**
   * `overlay`: as an overlayfs layer, marks in `trusted.*`; `overlay-user`: the same for overlays mounted with `userxattr`;
   * `apply`: onto what lower layers left in the folder.
   */
  readonly whiteouts: 'overlay' | 'overlay-user' | 'apply';
  /** Whether owners are set and devices made: false where the caller may not. */
  readonly privileged: boolean;
  /** Most bytes of files that are written. */
  readonly maxBytes: number;
  /** Most bytes of names that are kept in memory. */
  readonly maxNames?: number;
  /** Folders of the layers below, topmost first, for folders that the layer does not list. */
  readonly lower?: readonly string[];
  /** Owners as a user namespace maps them: how a plain copy serves one. */
  readonly owners?: OwnerMap;
}

export interface ExtractReport {
  entries: number;
  /** Bytes of files. */
  bytes: number;
  /** Devices that could not be made without privileges, and attributes that were left out. */
  skippedDevices: number;
  skippedXattrs: number;
}

export class LayerExtractor implements TarHandler, Disposable {
  readonly report: ExtractReport = { entries: 0, bytes: 0, skippedDevices: 0, skippedXattrs: 0 };
  readonly #root: LayerRoot;
  readonly #options: ExtractOptions;
  readonly #notes: LayerNotes;
  #fd = -1;
  #current: TarEntry | undefined;

  /** @param folder exists; empty, or for `apply` what the lower layers left @throws SystemError */
  constructor(folder: string, options: ExtractOptions) {
    this.#options = options;
    this.#notes = new LayerNotes(options.maxNames);
    this.#root = new LayerRoot(folder, options.lower);
    this.#root.onImplicitFolder = (path, like) => this.#implicitFolder(path, like);
    this.#root.mayReplace = (path) => this.#applies && !this.#notes.hasMade(path);
  }

  get #applies(): boolean {
    return this.#options.whiteouts === 'apply';
  }

  [Symbol.dispose](): void {
    if (this.#fd !== -1) closeSync(this.#fd);
    this.#fd = -1;
    this.#root[Symbol.dispose]();
  }

  entry(entry: TarEntry): void {
    this.#current = entry;
    this.report.entries++;
    if (this.report.entries > MAX_ENTRIES) {
      throw new LayerError(`the layer has more than ${MAX_ENTRIES} entries`, { code: 'LAYER_TOO_LARGE' });
    }
    this.report.bytes += entry.size;
    if (this.report.bytes > this.#options.maxBytes) {
      throw new LayerError(
        `the layer unpacks to more than the ${this.#options.maxBytes} bytes that there is room for`,
        { code: 'LAYER_TOO_LARGE', hint: NO_ROOM },
      );
    }
    try {
      this.#entry(entry, entryPath(entry.name));
    } catch (error) {
      throw this.#explain(error);
    }
  }

  data(bytes: Uint8Array): void {
    if (this.#fd === -1) return;
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  endEntry(): void {
    const entry = this.#current;
    if (this.#fd === -1 || entry === undefined) return;
    const fd = this.#fd;
    try {
      const { uid, gid } = this.#ownerOf(entry);
      if (this.#options.privileged) fchownSync(fd, uid, gid);
      // After the owner and the bytes: chown(2) takes the setuid bit away, and both take capabilities away.
      fchmodSync(fd, entry.mode);
      this.#setXattrs(entry, (name, value) => fsetxattr(fd, name, value));
      check(futimens(fd, entry.mtime.seconds, entry.mtime.nanoseconds), 'futimens');
    } catch (error) {
      throw this.#explain(error);
    } finally {
      this.#fd = -1;
      closeSync(fd);
    }
  }

  /** Sets the modes and times of folders, deepest last made first. Call once, after the last entry. @throws SystemError */
  finish(): void {
    for (const [path, meta] of this.#notes.takeFolders()) {
      const fd = openat2(this.#root.fd, path, O_DIRECTORY, RESOLVE_IN_ROOT);
      if (fd === -1) continue;
      try {
        fchmodSync(fd, meta.mode);
        check(futimens(fd, meta.mtime.seconds, meta.mtime.nanoseconds), 'futimens', printable(path));
      } finally {
        closeSync(fd);
      }
    }
  }

  #explain(error: unknown): unknown {
    if (error instanceof LayerError || error instanceof TarError) return error;
    const name = this.#current === undefined ? 'an entry' : printable(this.#current.name);
    const errno =
      error instanceof SystemError ? error.errno : Math.abs(Number((error as NodeJS.ErrnoException).errno));
    if (errno === ENOSPC) {
      return new LayerError(`the disk is full: ${name} of the layer does not fit`, {
        code: 'DISK_FULL',
        hint: 'Free some space; nothing of the layer stays.',
        cause: error,
      });
    }
    const why = error instanceof Error ? error.message : String(error);
    return new LayerError(`the layer's entry ${name} cannot be unpacked: ${why}`, {
      code: 'LAYER_ENTRY',
      cause: error,
    });
  }

  #entry(entry: TarEntry, path: string): void {
    if (path === '') {
      if (entry.type === 'directory') this.#setFolder('', '', entry);
      return;
    }
    const marker = markerOf(path);
    const { folder, base } = splitPath(path);
    if (marker.kind === 'ignored') return;
    if (marker.kind === 'opaque') {
      this.#opaque(folder);
      return;
    }
    // Overlayfs would take such a device for its own mark, so that is what it is.
    const isMark = entry.type === 'char' && entry.major === 0 && entry.minor === 0;
    if (marker.kind === 'whiteout' || isMark) {
      this.#whiteout(folder, marker.kind === 'whiteout' ? marker.base : base);
      return;
    }
    this.#noteMade(path);
    switch (entry.type) {
      case 'directory':
        this.#directory(folder, base, path, entry);
        break;
      case 'file':
        this.#file(folder, base, path);
        break;
      case 'hardlink':
        this.#hardLink(folder, base, path, entry);
        break;
      case 'symlink': {
        if (entry.linkName === '')
          throw new LayerError(`the link ${printable(path)} leads nowhere`, { code: 'LAYER_LINK' });
        const at = this.#make(folder, base, path, (parent) => symlinkat(entry.linkName, parent, base));
        this.#setOwner(at, base, entry);
        check(lutimensat(at, base, entry.mtime.seconds, entry.mtime.nanoseconds), 'utimensat');
        break;
      }
      default:
        this.#special(folder, base, path, entry);
    }
  }

  /** Only where whiteouts are carried out, which must spare what the layer has made. */
  #noteMade(path: string): void {
    if (this.#applies) this.#notes.noteMade(path);
  }

  /** Makes a name; what a lower layer or an earlier entry left there makes room. @returns the parent's descriptor */
  #make(folder: string, base: string, path: string, call: (parent: number) => number): number {
    const parent = this.#root.folder(folder);
    if (call(parent) !== -1) return parent;
    const errno = lastErrno();
    if (errno !== EEXIST) throw new SystemError('cannot make', printable(path), errno);
    this.#remove(folder, base, path);
    const again = this.#root.folder(folder);
    check(call(again), 'cannot make', printable(path));
    return again;
  }

  #remove(folder: string, base: string, path: string): void {
    this.#root.remove(folder, base);
    this.#notes.forget(path);
  }

  #file(folder: string, base: string, path: string): void {
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    let fd = -1;
    this.#make(folder, base, path, (at) => {
      fd = openat(at, base, flags, 0o600);
      return fd;
    });
    this.#fd = fd;
  }

  #directory(folder: string, base: string, path: string, entry: TarEntry): void {
    const parent = this.#root.folder(folder);
    let isHiding = this.#notes.hasWhiteout(path);
    if (mkdirat(parent, base, 0o700) === -1) {
      const errno = lastErrno();
      if (errno !== EEXIST) throw new SystemError('mkdirat', printable(path), errno);
      if (this.#root.lstat(folder, base)?.isDirectory() === true) isHiding = false;
      else this.#make(folder, base, path, (at) => mkdirat(at, base, 0o700));
    }
    this.#setFolder(path, base, entry);
    // The layer hides what was there and puts a folder in its place: nothing of the old one may shine through.
    if (isHiding) this.#opaque(path);
  }

  #setFolder(path: string, base: string, entry: TarEntry): void {
    this.#notes.noteFolder(path, { mode: entry.mode, mtime: entry.mtime });
    const at = base === '' ? this.#root.fd : this.#root.folder(splitPath(path).folder);
    this.#setOwner(at, base, entry);
    const own = procPath(at, base === '' ? '.' : base);
    this.#setXattrs(entry, (name, value) => lsetxattr(own, name, value));
  }

  #implicitFolder(path: string, like: LowerFolder | undefined): void {
    this.#noteMade(path);
    const { folder, base } = splitPath(path);
    const now = { seconds: Math.floor((like?.mtimeMs ?? 0) / 1000), nanoseconds: 0 };
    this.#notes.noteFolder(path, { mode: like === undefined ? 0o755 : like.mode & 0o7777, mtime: now });
    if (!this.#options.privileged) return;
    const { owners } = this.#options;
    const owner =
      like ?? (owners === undefined ? { uid: 0, gid: 0 } : mapOwner(owners, { uid: 0, gid: 0 }, path));
    check(lchownat(this.#root.folder(folder), base, owner.uid, owner.gid), 'fchownat', printable(path));
  }

  #hardLink(folder: string, base: string, path: string, entry: TarEntry): void {
    const target = entryPath(entry.linkName);
    if (target === path)
      throw new LayerError(`${printable(path)} is a hard link to itself`, { code: 'LAYER_LINK' });
    const from = splitPath(target);
    const stats = target === '' ? undefined : this.#root.lstat(from.folder, from.base);
    if (stats === undefined || stats.isDirectory()) {
      const why = stats === undefined ? 'which is not in the layer' : 'which is a folder';
      throw new LayerError(`${printable(path)} is a hard link to ${printable(target)}, ${why}`, {
        code: 'LAYER_LINK',
      });
    }
    this.#make(folder, base, path, (parent) => {
      const source = this.#root.existing(from.folder);
      return source === undefined ? -1 : linkat(source, from.base, parent, base);
    });
  }

  #special(folder: string, base: string, path: string, entry: TarEntry): void {
    const kind = entry.type === 'char' ? S_IFCHR : entry.type === 'block' ? S_IFBLK : S_IFIFO;
    if (entry.type !== 'fifo' && !this.#options.privileged) {
      this.report.skippedDevices++;
      return;
    }
    const device = entry.type === 'fifo' ? 0 : deviceNumber(entry.major, entry.minor);
    let parent: number;
    try {
      parent = this.#make(folder, base, path, (at) => mknodat(at, base, kind | 0o600, device));
    } catch (error) {
      // Root of a user namespace, or without CAP_MKNOD.
      if (!(error instanceof SystemError) || error.errno !== EPERM || entry.type === 'fifo') throw error;
      this.report.skippedDevices++;
      return;
    }
    this.#setOwner(parent, base, entry);
    check(fchmodat(parent, base, entry.mode), 'fchmodat');
    check(lutimensat(parent, base, entry.mtime.seconds, entry.mtime.nanoseconds), 'utimensat');
  }

  #opaque(folder: string): void {
    if (this.#applies) {
      this.#root.empty(folder, (path) => this.#notes.hasMade(path));
      return;
    }
    const fd = this.#root.folder(folder);
    this.#mark(procPath(fd, '.'));
  }

  #mark(path: string): void {
    const name = this.#options.whiteouts === 'overlay' ? 'trusted.overlay.opaque' : 'user.overlay.opaque';
    check(lsetxattr(path, name, Buffer.from('y')), 'setxattr', name);
  }

  #whiteout(folder: string, base: string): void {
    const path = folder === '' ? base : `${folder}/${base}`;
    if (this.#applies) {
      // A whiteout is about lower layers: what this one has put there stays.
      this.#root.remove(folder, base, (one) => this.#notes.hasMade(one));
      return;
    }
    const parent = this.#root.folder(folder);
    if (mknodat(parent, base, S_IFCHR, 0) !== -1) {
      this.#notes.noteWhiteout(path);
      return;
    }
    const errno = lastErrno();
    if (errno !== EEXIST) throw new SystemError('mknodat', printable(path), errno);
    // The layer has the name itself: a file hides the lower one anyway, a folder must not merge with it.
    if (this.#root.lstat(folder, base)?.isDirectory() === true) this.#opaque(path);
  }

  #ownerOf(entry: TarEntry): { uid: number; gid: number } {
    const { owners } = this.#options;
    return owners === undefined ? entry : mapOwner(owners, entry, entry.name);
  }

  #setOwner(parent: number, base: string, entry: TarEntry): void {
    if (!this.#options.privileged) return;
    const { uid, gid } = this.#ownerOf(entry);
    check(lchownat(parent, base, uid, gid), 'fchownat', printable(entry.name));
  }

  #setXattrs(entry: TarEntry, set: (name: string, value: Uint8Array) => number): void {
    for (const [name, value] of entry.xattrs) {
      const own = isAllowedXattr(name) ? mapXattr(name, value, this.#options.owners) : undefined;
      if (own !== undefined && set(name, own) !== -1) continue;
      const errno = own === undefined ? EPERM : lastErrno();
      if (errno !== EPERM && errno !== ENOTSUP)
        throw new SystemError(`setxattr ${name}`, printable(entry.name), errno);
      this.report.skippedXattrs++;
    }
  }
}

/** The kernel's encoding for user space, new_encode_dev() of <linux/kdev_t.h>, as mknod(2) takes 32 bits of it. */
function deviceNumber(major: number, minor: number): number {
  if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff) {
    throw new LayerError(`there is no device ${major}:${minor}`, { code: 'LAYER_DEVICE' });
  }
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
