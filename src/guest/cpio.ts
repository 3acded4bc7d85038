/**
 * A writer of cpio archives in the "newc" format, the one the kernel unpacks as initramfs
 * (Documentation/driver-api/early-userspace/buffer-format.rst). Deterministic: mtime 0, owner root, entries in the order
 * given, parents made by themselves. Refuses names that leave the archive's root and files of 4 GiB and more.
 */
import { TvmmError } from '../sys/errors.js';

/** A name or size that the format, or good sense, does not allow. */
export class CpioError extends TvmmError {}

/** File types of st_mode (inode(7)). */
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;

const TRAILER = 'TRAILER!!!';
const BLOCK = 512;

/** Collects entries; {@link CpioWriter.finish} gives the archive. Paths are relative or absolute, both from the root. */
export class CpioWriter {
  readonly #chunks: Uint8Array[] = [];
  readonly #seen = new Set<string>();
  #length = 0;
  #inode = 0;

  /** A regular file. */
  file(path: string, data: Uint8Array | string, mode = 0o644): this {
    return this.#entry(path, S_IFREG | mode, typeof data === 'string' ? Buffer.from(data) : data);
  }

  /** A folder; adding it twice, or after something inside it, is allowed and does nothing. */
  directory(path: string, mode = 0o755): this {
    return this.#seen.has(clean(path)) ? this : this.#entry(path, S_IFDIR | mode);
  }

  /** A symbolic link at `path` that points to `target`. */
  symlink(path: string, target: string): this {
    return this.#entry(path, S_IFLNK | 0o777, Buffer.from(target));
  }

  /** A character or block device node. */
  device(path: string, kind: 'char' | 'block', major: number, minor: number, mode = 0o600): this {
    return this.#entry(path, (kind === 'char' ? S_IFCHR : S_IFBLK) | mode, undefined, major, minor);
  }

  /** The archive, its end padded to 512 bytes so that another may follow it. The writer must not be used afterwards. */
  finish(): Buffer {
    this.#header(TRAILER, 0, 0, 0, 0, 0);
    this.#pad(BLOCK);
    return Buffer.concat(this.#chunks, this.#length);
  }

  #entry(path: string, mode: number, data: Uint8Array = new Uint8Array(0), major = 0, minor = 0): this {
    const name = clean(path);
    if (this.#seen.has(name))
      throw new CpioError(`${name} is twice in the archive`, { code: 'CPIO_DUPLICATE' });
    if (data.length > 0xffff_ffff) {
      throw new CpioError(`${name} is too large for a cpio archive (4 GiB)`, { code: 'CPIO_TOO_LARGE' });
    }
    const slash = name.lastIndexOf('/');
    if (slash > 0) this.directory(name.slice(0, slash));
    this.#seen.add(name);
    this.#header(name, mode, data.length, major, minor, ++this.#inode);
    this.#push(data);
    this.#pad(4);
    return this;
  }

  #header(name: string, mode: number, size: number, major: number, minor: number, inode: number): void {
    const nameBytes = Buffer.from(`${name}\0`);
    const links = (mode & 0o170000) === S_IFDIR ? 2 : 1;
    // c_magic, then c_ino … c_check in the order of buffer-format.rst.
    const fields = [inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, nameBytes.length, 0];
    this.#push(Buffer.from(`070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}`));
    this.#push(nameBytes);
    this.#pad(4);
  }

  #push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.push(bytes);
    this.#length += bytes.length;
  }

  #pad(alignment: number): void {
    const over = this.#length % alignment;
    if (over !== 0) this.#push(new Uint8Array(alignment - over));
  }
}

function clean(path: string): string {
  const name = path.replace(/^\/+/, '').replace(/\/+$/, '');
  const parts = name.split('/');
  const bad = parts.some((part) => part === '' || part === '.' || part === '..') || name.includes('\0');
  if (bad || name === TRAILER) {
    throw new CpioError(`${JSON.stringify(path)} is not a usable name in a cpio archive`, {
      code: 'CPIO_NAME',
    });
  }
  return name;
}
