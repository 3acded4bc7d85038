/**
 * Where a loader's bytes come from: a file that is read straight into guest memory, or bytes that are already here.
 *
 * A kernel of 50 MB costs exactly its loaded segments: nothing is read ahead, nothing is copied twice. Every read is
 * checked against the size taken at open; a file that shrinks meanwhile is an error, not a short segment.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { SystemError, type TvmmError, TvmmError as TvmmErrorClass } from '../sys/errors.js';
import { lastErrno, pread } from '../sys/libc.js';
import { hex, InitrdError, KernelError } from './errors.js';

/** Random access to the bytes of a kernel or an initrd. */
export interface ByteSource {
  /** What error messages call it: the path as the user gave it. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** A copy of `length` bytes at `offset`. Throws where the range leaves the source. */
  read(offset: number, length: number): Uint8Array;
  /** Fills `target` from `offset`. Throws where the range leaves the source. */
  readInto(target: Uint8Array, offset: number): void;
  /** As {@link readInto}, to mapped memory by its address in this process: the caller vouches for `length` bytes there. */
  readToAddress?(address: number, length: number, offset: number): void;
}

/** What the file is for: it decides the error class and the prefix of its codes. */
export type SourceKind = 'kernel' | 'initrd';

/** One read never asks for more: a signal or a slow disk then never holds a whole kernel in one call. */
const READ_CHUNK = 8 * 2 ** 20;

function sourceError(
  kind: SourceKind,
  suffix: string,
  message: string,
  hint: string,
  cause?: unknown,
): TvmmError {
  const code = `${kind.toUpperCase()}_${suffix}`;
  const options = { code, hint, cause };
  return kind === 'kernel' ? new KernelError(message, options) : new InitrdError(message, options);
}

function outOfRange(kind: SourceKind, name: string, offset: number, length: number, size: number): TvmmError {
  return sourceError(
    kind,
    'TRUNCATED',
    `the ${kind} "${name}" is truncated: ${length} bytes at offset ${hex(offset)} lie beyond its end at ${hex(size)}`,
    'copy or build the file again; it is shorter than its own headers say',
  );
}

/** `"vmlinux" (seen from /home/me)`: a relative path is only clear together with where it starts. */
function located(path: string): string {
  return isAbsolute(path) ? `"${path}"` : `"${path}" (seen from ${process.cwd()})`;
}

/** The sentence for a failed open or read of `path`. Exported so that every errno can be tested, also as root. */
export function openFailure(kind: SourceKind, path: string, cause: unknown): TvmmError {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : 'EIO';
  switch (errno) {
    case 'ENOENT':
    case 'ENOTDIR':
      return sourceError(kind, 'NOT_FOUND', `no such ${kind}: ${located(path)}`, 'check the path', cause);
    case 'EACCES':
    case 'EPERM':
      return sourceError(
        kind,
        'NOT_PERMITTED',
        `not permitted to read the ${kind} ${located(path)}`,
        'give this user read permission on the file and search permission on its directories',
        cause,
      );
    case 'ENXIO':
      return notAFile(kind, path);
    default:
      return sourceError(
        kind,
        'UNREADABLE',
        `cannot read the ${kind} ${located(path)}: ${errno}`,
        'check the file and the file system that it is on',
        cause,
      );
  }
}

function notAFile(kind: SourceKind, path: string): TvmmError {
  return sourceError(
    kind,
    'NOT_A_FILE',
    `the ${kind} ${located(path)} is not a regular file`,
    'devices, pipes and sockets cannot be loaded; copy the bytes into a file first',
  );
}

/** A regular file, read with positioned reads straight into the caller's memory. Owns its descriptor. */
export class FileSource implements ByteSource, Disposable {
  readonly name: string;
  readonly size: number;
  readonly #kind: SourceKind;
  #fd: number;

  private constructor(name: string, size: number, kind: SourceKind, fd: number) {
    this.name = name;
    this.size = size;
    this.#kind = kind;
    this.#fd = fd;
  }

  /**
   * Opens `path` for reading.
   *
   * @throws KernelError or InitrdError (by `kind`): `…_NOT_FOUND`, `…_IS_DIRECTORY`, `…_NOT_A_FILE`,
   * `…_NOT_PERMITTED`, `…_EMPTY`, `…_UNREADABLE`.
   */
  static open(path: string, kind: SourceKind = 'kernel'): FileSource {
    let fd: number;
    try {
      // O_NONBLOCK: opening a FIFO without a writer would otherwise never return.
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      if (path.includes('\0'))
        throw sourceError(
          kind,
          'NOT_FOUND',
          `no such ${kind}: the path has a NUL in it`,
          'check the path',
          error,
        );
      throw openFailure(kind, path, error);
    }
    try {
      const stat = fstatSync(fd);
      if (stat.isDirectory()) {
        throw sourceError(
          kind,
          'IS_DIRECTORY',
          `the ${kind} ${located(path)} is a directory`,
          `name the ${kind} file inside it`,
        );
      }
      if (!stat.isFile()) throw notAFile(kind, path);
      if (stat.size === 0) {
        throw sourceError(
          kind,
          'EMPTY',
          `the ${kind} ${located(path)} is empty`,
          'copy or build the file again',
        );
      }
      return new FileSource(path, stat.size, kind, fd);
    } catch (error) {
      closeSync(fd);
      throw error instanceof TvmmErrorClass ? error : openFailure(kind, path, error);
    }
  }

  read(offset: number, length: number): Uint8Array {
    this.#check(offset, length);
    const bytes = new Uint8Array(length);
    this.readInto(bytes, offset);
    return bytes;
  }

  readInto(target: Uint8Array, offset: number): void {
    this.#check(offset, target.length);
    let done = 0;
    while (done < target.length) {
      const count = this.#pread(target, done, Math.min(READ_CHUNK, target.length - done), offset + done);
      if (count === 0) throw outOfRange(this.#kind, this.name, offset, target.length, offset + done);
      done += count;
    }
  }

  readToAddress(address: number, length: number, offset: number): void {
    this.#check(offset, length);
    for (let done = 0; done < length; ) {
      const count = pread(this.#fd, address + done, Math.min(READ_CHUNK, length - done), offset + done);
      if (count < 0)
        throw openFailure(this.#kind, this.name, new SystemError('pread', this.name, lastErrno()));
      if (count === 0) throw outOfRange(this.#kind, this.name, offset, length, offset + done);
      done += count;
    }
  }

  #pread(target: Uint8Array, at: number, length: number, offset: number): number {
    try {
      return readSync(this.#fd, target, at, length, offset);
    } catch (error) {
      throw openFailure(this.#kind, this.name, error);
    }
  }

  #check(offset: number, length: number): void {
    if (!inside(offset, length, this.size)) {
      throw outOfRange(this.#kind, this.name, offset, length, this.size);
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    closeSync(fd);
  }
}

/** Bytes in memory, for micro-guests, generated initrds and tests. */
export class BytesSource implements ByteSource {
  readonly size: number;

  constructor(
    readonly bytes: Uint8Array,
    readonly name = 'bytes in memory',
    readonly kind: SourceKind = 'kernel',
  ) {
    this.size = bytes.length;
  }

  read(offset: number, length: number): Uint8Array {
    if (!inside(offset, length, this.size)) throw outOfRange(this.kind, this.name, offset, length, this.size);
    return this.bytes.slice(offset, offset + length);
  }

  readInto(target: Uint8Array, offset: number): void {
    if (!inside(offset, target.length, this.size)) {
      throw outOfRange(this.kind, this.name, offset, target.length, this.size);
    }
    target.set(this.bytes.subarray(offset, offset + target.length));
  }
}

/** Whether `offset`, `length` name bytes of a source of `size` bytes. Written so that no sum can overflow. */
export function inside(offset: number, length: number, size: number): boolean {
  return (
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(length) &&
    offset >= 0 &&
    length >= 0 &&
    offset <= size &&
    length <= size - offset
  );
}
