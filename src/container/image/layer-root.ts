/**
 * The folder that a layer is unpacked into, reached only through descriptors: every parent is resolved by openat2(2) with
 * RESOLVE_IN_ROOT, so that a symbolic link of the layer leads where it would lead inside the image, and never out of the folder.
 *
 * Folders that the layer does not list itself are made as the layers below have them: with their owner and mode, and through their
 * symbolic links (`lib/x` goes to `usr/lib/x` where a lower layer has lib -> usr/lib).
 */
import { fstatSync, lstatSync, readdirSync, type Stats } from 'node:fs';
import {
  AT_FDCWD,
  AT_REMOVEDIR,
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
  unlinkat,
} from '../../sys/at.js';
import { SystemError } from '../../sys/errors.js';
import { check, close, lastErrno } from '../../sys/libc.js';
import { linkedPath, printable, splitPath } from './entry-path.js';
import { LayerError } from './errors.js';

const ENOENT = 2;
const EEXIST = 17;
const ENOTDIR = 20;
const RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
/** Open folders: layers list files folder by folder, so that few are needed at a time. */
const MAX_OPEN = 64;
const MAX_LINKS = 40;
/** Deeper trees cannot be named by PATH_MAX either. */
const MAX_DEPTH = 2048;

export interface LowerFolder {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeMs: number;
}

export class LayerRoot implements Disposable {
  readonly #root: number;
  /** O_PATH descriptors of the layers below, topmost first. */
  readonly #lower: number[] = [];
  readonly #open = new Map<string, number>();
  /** Called for a folder that was made because something stands in it. */
  onImplicitFolder: (path: string, like: LowerFolder | undefined) => void = () => {};
  /** Whether a non-directory at this path may make room for a folder: what a lower layer left, in a plain copy. */
  mayReplace: (path: string) => boolean = () => false;

  /** @param lower the folders of the layers below, topmost first @throws SystemError */
  constructor(folder: string, lower: readonly string[] = []) {
    const open = (path: string): number =>
      check(openat(AT_FDCWD, Buffer.from(path).toString('latin1'), O_PATH | O_DIRECTORY), 'open', path);
    this.#root = open(folder);
    try {
      for (const path of lower) this.#lower.push(open(path));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  get fd(): number {
    return this.#root;
  }

  [Symbol.dispose](): void {
    this.forget();
    for (const fd of this.#lower.splice(0)) close(fd);
    close(this.#root);
  }

  /** Closes what is open: after something was removed, a descriptor may name a folder that is no longer there. */
  forget(): void {
    for (const fd of this.#open.values()) close(fd);
    this.#open.clear();
  }

  /** An O_PATH descriptor of a folder below the root, made where it is missing. It is this object's to close. @throws LayerError SystemError */
  folder(path: string): number {
    return this.#folder(path, 0);
  }

  /** The same without making it: undefined when it is not there. */
  existing(path: string): number | undefined {
    if (path === '') return this.#root;
    const known = this.#open.get(path);
    if (known !== undefined) {
      // Last used, last closed: a caller may hold two.
      this.#open.delete(path);
      this.#open.set(path, known);
      return known;
    }
    const fd = openat2(this.#root, path, O_PATH | O_DIRECTORY, RESOLVE);
    return fd === -1 ? undefined : this.#remember(path, fd);
  }

  #remember(path: string, fd: number): number {
    if (this.#open.size >= MAX_OPEN) {
      const [oldest] = this.#open;
      if (oldest !== undefined) {
        close(oldest[1]);
        this.#open.delete(oldest[0]);
      }
    }
    this.#open.set(path, fd);
    return fd;
  }

  #folder(path: string, links: number): number {
    const known = this.existing(path);
    if (known !== undefined) return known;
    const why = lastErrno();
    if (why !== ENOENT && why !== ENOTDIR) throw new SystemError('openat2', printable(path), why);
    const { folder, base } = splitPath(path);
    const parent = this.#folder(folder, links);
    const like = this.#lookBelow(path);
    if (typeof like === 'string' && this.#lstatAt(parent, base) === undefined) {
      if (links >= MAX_LINKS)
        throw new LayerError(`${printable(path)} goes through too many links`, { code: 'LAYER_LINKS' });
      return this.#folder(linkedPath(path, like), links + 1);
    }
    if (mkdirat(parent, base, 0o700) === -1) {
      const errno = lastErrno();
      if (errno !== EEXIST) throw new SystemError('mkdirat', printable(path), errno);
      if (!this.mayReplace(path)) {
        throw new LayerError(`the layer puts files into ${printable(path)}, which is no folder`, {
          code: 'LAYER_NOT_A_FOLDER',
        });
      }
      this.remove(folder, base);
      check(mkdirat(this.#folder(folder, links), base, 0o700), 'mkdirat', printable(path));
    }
    this.onImplicitFolder(path, typeof like === 'string' ? undefined : like);
    const made = this.existing(path);
    if (made === undefined) throw new SystemError('openat2', printable(path), lastErrno());
    return made;
  }

  /** What the layers below have at a path: a folder, a symbolic link's target, or nothing of use. */
  #lookBelow(path: string): LowerFolder | string | undefined {
    for (const lower of this.#lower) {
      const fd = openat2(lower, path, O_PATH | O_NOFOLLOW, RESOLVE);
      if (fd === -1) continue;
      try {
        const stats = fstatSync(fd);
        if (stats.isDirectory()) return stats;
        if (stats.isSymbolicLink()) return readlinkat(fd, '');
        // A whiteout or another file hides what is further down.
        return undefined;
      } finally {
        close(fd);
      }
    }
    return undefined;
  }

  #lstatAt(folder: number, base: string): Stats | undefined {
    return lstatSync(bytesPath(folder, base), { throwIfNoEntry: false });
  }

  /** What stands at a name, never following a link. */
  lstat(folder: string, base: string): Stats | undefined {
    const fd = this.existing(folder);
    return fd === undefined ? undefined : this.#lstatAt(fd, base);
  }

  /** Removes a name and all below it, if it is there. `keep` says what must stay, by path. @throws SystemError */
  remove(folder: string, base: string, keep?: (path: string) => boolean): void {
    const fd = this.existing(folder);
    if (fd === undefined) return;
    const path = folder === '' ? base : `${folder}/${base}`;
    this.#removeAt(fd, base, path, keep, 0);
    this.forget();
  }

  /** Removes what stands in a folder. @throws SystemError */
  empty(folder: string, keep: (path: string) => boolean): void {
    const fd = this.existing(folder);
    if (fd === undefined) return;
    for (const name of readdirSync(procPath(fd), 'latin1')) {
      const path = folder === '' ? name : `${folder}/${name}`;
      this.#removeAt(fd, name, path, keep, 0);
    }
    this.forget();
  }

  /** Says whether the name is gone. */
  #removeAt(
    parent: number,
    base: string,
    path: string,
    keep: ((path: string) => boolean) | undefined,
    depth: number,
  ): boolean {
    if (depth > MAX_DEPTH) throw new LayerError(`${printable(path)} is too deep`, { code: 'LAYER_DEPTH' });
    const stats = this.#lstatAt(parent, base);
    if (stats === undefined) return true;
    if (!stats.isDirectory()) {
      if (keep?.(path) === true) return false;
      check(unlinkat(parent, base), 'unlinkat', printable(path));
      return true;
    }
    const fd = check(openat(parent, base, O_PATH | O_DIRECTORY | O_NOFOLLOW), 'openat', printable(path));
    let isEmpty = true;
    try {
      for (const name of readdirSync(procPath(fd), 'latin1')) {
        isEmpty = this.#removeAt(fd, name, `${path}/${name}`, keep, depth + 1) && isEmpty;
      }
    } finally {
      close(fd);
    }
    if (!isEmpty || keep?.(path) === true) return false;
    check(unlinkat(parent, base, AT_REMOVEDIR), 'unlinkat', printable(path));
    return true;
  }
}

/** A name below a descriptor as the bytes that node:fs takes. */
function bytesPath(folder: number, base: string): Buffer {
  return Buffer.from(procPath(folder, base), 'latin1');
}
