/**
 * File calls relative to a directory descriptor, for code that works below a root which others may have filled: openat2(2) with its
 * resolve flags, and the *at family. Names are byte strings (latin1: one character a byte), since file names need not be UTF-8.
 *
 * The calls return -1 on failure, as libc's do; `lastErrno` of libc.ts says why.
 */
import { declare, lastErrno, type Pointer } from './libc.js';

/** openat2(2), <linux/openat2.h>. */
export const RESOLVE_NO_MAGICLINKS = 0x02;
export const RESOLVE_NO_SYMLINKS = 0x04;
export const RESOLVE_BENEATH = 0x08;
export const RESOLVE_IN_ROOT = 0x10;

export const O_PATH = 0o10000000;
export const O_CLOEXEC = 0o2000000;
export const O_DIRECTORY = 0o200000;
export const O_NOFOLLOW = 0o400000;
export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_EMPTY_PATH = 0x1000;

/** arch/x86/entry/syscalls/syscall_64.tbl; mknodat is no symbol of glibc before 2.33. */
const SYS_MKNODAT = 259;
const SYS_OPENAT2 = 437;
const EAGAIN = 11;
/** RESOLVE_IN_ROOT answers EAGAIN while another process renames or mounts: harmless, worth a few tries. */
const MAX_TRIES = 64;

const rawOpenat2 = declare<
  (number: number, directory: number, path: Pointer, how: Pointer, size: number) => number
>('syscall', 'int64_t', ['long', 'int', 'void *', 'void *', 'size_t']);
const rawMknodat = declare<
  (number: number, directory: number, path: Pointer, mode: number, device: number) => number
>('syscall', 'int64_t', ['long', 'int', 'void *', 'unsigned int', 'unsigned int']);
const rawOpenat = declare<(directory: number, name: Pointer, flags: number, mode: number) => number>(
  'openat',
  'int',
  ['int', 'void *', 'int', 'unsigned int'],
);
const rawMkdirat = declare<(directory: number, name: Pointer, mode: number) => number>('mkdirat', 'int', [
  'int',
  'void *',
  'unsigned int',
]);
const rawSymlinkat = declare<(target: Pointer, directory: number, name: Pointer) => number>(
  'symlinkat',
  'int',
  ['void *', 'int', 'void *'],
);
const rawLinkat = declare<
  (fromDirectory: number, from: Pointer, directory: number, name: Pointer, flags: number) => number
>('linkat', 'int', ['int', 'void *', 'int', 'void *', 'int']);
const rawUnlinkat = declare<(directory: number, name: Pointer, flags: number) => number>('unlinkat', 'int', [
  'int',
  'void *',
  'int',
]);
const rawReadlinkat = declare<(directory: number, name: Pointer, buffer: Pointer, size: number) => number>(
  'readlinkat',
  'int64_t',
  ['int', 'void *', 'void *', 'size_t'],
);
const rawFchownat = declare<
  (directory: number, name: Pointer, uid: number, gid: number, flags: number) => number
>('fchownat', 'int', ['int', 'void *', 'unsigned int', 'unsigned int', 'int']);
const rawFchmodat = declare<(directory: number, name: Pointer, mode: number, flags: number) => number>(
  'fchmodat',
  'int',
  ['int', 'void *', 'unsigned int', 'int'],
);
const rawUtimensat = declare<(directory: number, name: Pointer, times: Pointer, flags: number) => number>(
  'utimensat',
  'int',
  ['int', 'void *', 'void *', 'int'],
);
const rawFutimens = declare<(fd: number, times: Pointer) => number>('futimens', 'int', ['int', 'void *']);
const rawLsetxattr = declare<
  (path: Pointer, name: Pointer, value: Pointer, size: number, flags: number) => number
>('lsetxattr', 'int', ['void *', 'void *', 'void *', 'size_t', 'int']);
const rawFsetxattr = declare<
  (fd: number, name: Pointer, value: Pointer, size: number, flags: number) => number
>('fsetxattr', 'int', ['int', 'void *', 'void *', 'size_t', 'int']);
const rawLgetxattr = declare<(path: Pointer, name: Pointer, value: Pointer, size: number) => number>(
  'lgetxattr',
  'int64_t',
  ['void *', 'void *', 'void *', 'size_t'],
);
export const syncfs = declare<(fd: number) => number>('syncfs', 'int', ['int']);

/** A byte string as the NUL-terminated bytes that the kernel takes. The caller has refused NUL inside. */
export function cString(bytes: string): Buffer {
  return Buffer.from(`${bytes}\0`, 'latin1');
}

/** The byte string of a JavaScript string: its UTF-8, one character a byte. */
export function byteString(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** openat2(2): `flags` as open(2), `resolve` of RESOLVE_*. O_CLOEXEC is always set. */
export function openat2(directory: number, path: string, flags: number, resolve: number, mode = 0): number {
  const how = new BigUint64Array([BigInt(flags | O_CLOEXEC), BigInt(mode), BigInt(resolve)]);
  const name = cString(path === '' ? '.' : path);
  for (let tries = 1; ; tries++) {
    const fd = rawOpenat2(SYS_OPENAT2, directory, name, how, how.byteLength);
    if (fd !== -1 || tries === MAX_TRIES || lastErrno() !== EAGAIN) return fd;
  }
}

export function openat(directory: number, name: string, flags: number, mode = 0): number {
  return rawOpenat(directory, cString(name), flags | O_CLOEXEC, mode);
}

export function mkdirat(directory: number, name: string, mode: number): number {
  return rawMkdirat(directory, cString(name), mode);
}

export function mknodat(directory: number, name: string, mode: number, device: number): number {
  return rawMknodat(SYS_MKNODAT, directory, cString(name), mode, device);
}

export function symlinkat(target: string, directory: number, name: string): number {
  return rawSymlinkat(cString(target), directory, cString(name));
}

/** The target of a symbolic link, of at most 4095 bytes; an empty name is the descriptor's own link. Undefined when it is none. */
export function readlinkat(directory: number, name: string): string | undefined {
  const buffer = Buffer.alloc(4096);
  const length = rawReadlinkat(directory, cString(name), buffer, buffer.length);
  return length === -1 ? undefined : buffer.toString('latin1', 0, length);
}

/** Never follows a symbolic link at `from`. */
export function linkat(fromDirectory: number, from: string, directory: number, name: string): number {
  return rawLinkat(fromDirectory, cString(from), directory, cString(name), 0);
}

export function unlinkat(directory: number, name: string, flags = 0): number {
  return rawUnlinkat(directory, cString(name), flags);
}

/** Of the name itself, never of what a symbolic link names; an empty name is the descriptor's own file. */
export function lchownat(directory: number, name: string, uid: number, gid: number): number {
  const flags = AT_SYMLINK_NOFOLLOW | (name === '' ? AT_EMPTY_PATH : 0);
  return rawFchownat(directory, cString(name), uid, gid, flags);
}

/** Follows a symbolic link: only for names that were just made as something else. */
export function fchmodat(directory: number, name: string, mode: number): number {
  return rawFchmodat(directory, cString(name), mode, 0);
}

/** Access and modification time of the name itself. */
export function lutimensat(directory: number, name: string, seconds: number, nanoseconds: number): number {
  return rawUtimensat(directory, cString(name), timespecs(seconds, nanoseconds), AT_SYMLINK_NOFOLLOW);
}

/** Access and modification time of an open file. */
export function futimens(fd: number, seconds: number, nanoseconds: number): number {
  return rawFutimens(fd, timespecs(seconds, nanoseconds));
}

/** Two `struct timespec` of the same time. The kernel clamps what its file system cannot hold. */
function timespecs(seconds: number, nanoseconds: number): Int32Array {
  const high = Math.floor(seconds / 2 ** 32);
  const low = seconds | 0;
  return new Int32Array([low, high, nanoseconds, 0, low, high, nanoseconds, 0]);
}

/** The path by which calls that take no descriptor reach a name below a directory descriptor. */
export function procPath(directory: number, name = ''): string {
  return `/proc/self/fd/${directory}${name === '' ? '' : `/${name}`}`;
}

/** lsetxattr(2) on a byte-string path. */
export function lsetxattr(path: string, name: string, value: Uint8Array): number {
  return rawLsetxattr(cString(path), cString(name), value, value.length, 0);
}

/** fsetxattr(2). */
export function fsetxattr(fd: number, name: string, value: Uint8Array): number {
  return rawFsetxattr(fd, cString(name), value, value.length, 0);
}

/** lgetxattr(2) of a short value; undefined when it is not there or longer than 64 KiB. */
export function lgetxattr(path: string, name: string): Uint8Array | undefined {
  const value = new Uint8Array(256);
  const length = rawLgetxattr(cString(path), cString(name), value, value.length);
  if (length !== -1) return value.subarray(0, length);
  const large = new Uint8Array(65536);
  const second = rawLgetxattr(cString(path), cString(name), large, large.length);
  return second === -1 ? undefined : large.subarray(0, second);
}
