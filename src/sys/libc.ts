/**
 * The C library through koffi: every foreign function of the project is declared here, once.
 *
 * Calls return what libc returns; {@link check} turns -1 into a {@link SystemError}. Addresses are plain numbers (user-space
 * addresses fit in 2^47). koffi knows no `ssize_t`: `int64_t` stands for it, and comes back as a number.
 */
import koffi from 'koffi';
import { SystemError } from './errors.js';

const libc = koffi.load('libc.so.6');

/** Declares a libc function; the type parameter is its TypeScript signature. For the modules of src/sys only. */
export function declare<F extends (...args: never[]) => unknown>(
  name: string,
  result: string,
  args: string[],
): F {
  const foreign: unknown = libc.func(name, result, args);
  // koffi's callable carries no types: this table is the trust boundary, checked by the tests of src/sys.
  return foreign as F;
}

/** An address: a number, or the bytes of a typed array for the duration of the call. */
export type Pointer = number | ArrayBufferView | null;

export const ioctl = declare<(fd: number, request: number, argument: number) => number>('ioctl', 'int', [
  'int',
  'unsigned long',
  'long',
]);
export const ioctlPointer = declare<(fd: number, request: number, argument: Pointer) => number>(
  'ioctl',
  'int',
  ['int', 'unsigned long', 'void *'],
);
export const open = declare<(path: string, flags: number, mode: number) => number>('open', 'int', [
  'str',
  'int',
  'int',
]);
export const close = declare<(fd: number) => number>('close', 'int', ['int']);
export const read = declare<(fd: number, buffer: Pointer, length: number) => number>('read', 'int64_t', [
  'int',
  'void *',
  'size_t',
]);
export const write = declare<(fd: number, buffer: Pointer, length: number) => number>('write', 'int64_t', [
  'int',
  'void *',
  'size_t',
]);
export const pread = declare<(fd: number, buffer: Pointer, length: number, offset: number) => number>(
  'pread',
  'int64_t',
  ['int', 'void *', 'size_t', 'int64_t'],
);
export const preadv = declare<(fd: number, iov: Pointer, count: number, offset: number) => number>(
  'preadv',
  'int64_t',
  ['int', 'void *', 'int', 'int64_t'],
);
export const pwritev = declare<(fd: number, iov: Pointer, count: number, offset: number) => number>(
  'pwritev',
  'int64_t',
  ['int', 'void *', 'int', 'int64_t'],
);
/** Addresses only (no typed arrays): these two are on the block device's hot path. */
export const preadv2 = declare<
  (fd: number, iov: number, count: number, offset: number, flags: number) => number
>('preadv2', 'int64_t', ['int', 'int64_t', 'int', 'int64_t', 'int']);
export const pwritev2 = declare<
  (fd: number, iov: number, count: number, offset: number, flags: number) => number
>('pwritev2', 'int64_t', ['int', 'int64_t', 'int', 'int64_t', 'int']);
export const pipe2 = declare<(fds: Pointer, flags: number) => number>('pipe2', 'int', ['void *', 'int']);
export const fdatasync = declare<(fd: number) => number>('fdatasync', 'int', ['int']);
export const fallocate = declare<(fd: number, mode: number, offset: number, length: number) => number>(
  'fallocate',
  'int',
  ['int', 'int', 'int64_t', 'int64_t'],
);
export const ftruncate = declare<(fd: number, length: number) => number>('ftruncate', 'int', [
  'int',
  'int64_t',
]);
export const fcntl = declare<(fd: number, command: number, argument: number) => number>('fcntl', 'int', [
  'int',
  'int',
  'long',
]);
export const fcntlPointer = declare<(fd: number, command: number, argument: Pointer) => number>(
  'fcntl',
  'int',
  ['int', 'int', 'void *'],
);
export const mmap = declare<
  (address: number, length: number, protection: number, flags: number, fd: number, offset: number) => number
>('mmap', 'int64_t', ['int64_t', 'size_t', 'int', 'int', 'int', 'int64_t']);
export const munmap = declare<(address: number, length: number) => number>('munmap', 'int', [
  'int64_t',
  'size_t',
]);
export const madvise = declare<(address: number, length: number, advice: number) => number>(
  'madvise',
  'int',
  ['int64_t', 'size_t', 'int'],
);
export const memfdCreate = declare<(name: string, flags: number) => number>('memfd_create', 'int', [
  'str',
  'unsigned int',
]);
export const eventfd = declare<(initial: number, flags: number) => number>('eventfd', 'int', [
  'unsigned int',
  'int',
]);
export const epollCreate1 = declare<(flags: number) => number>('epoll_create1', 'int', ['int']);
export const epollCtl = declare<(epfd: number, op: number, fd: number, event: Pointer) => number>(
  'epoll_ctl',
  'int',
  ['int', 'int', 'int', 'void *'],
);
export const epollWait = declare<(epfd: number, events: Pointer, max: number, timeoutMs: number) => number>(
  'epoll_wait',
  'int',
  ['int', 'void *', 'int', 'int'],
);
export const tcgetattr = declare<(fd: number, termios: Pointer) => number>('tcgetattr', 'int', [
  'int',
  'void *',
]);
export const tcsetattr = declare<(fd: number, actions: number, termios: Pointer) => number>(
  'tcsetattr',
  'int',
  ['int', 'int', 'void *'],
);
export const cfmakeraw = declare<(termios: Pointer) => void>('cfmakeraw', 'void', ['void *']);
/** At most 256 bytes come at once and whole; more may be cut short by a signal (getrandom(2)). */
export const getrandom = declare<(buffer: Pointer, length: number, flags: number) => number>(
  'getrandom',
  'int64_t',
  ['void *', 'size_t', 'unsigned int'],
);
export const getpid = declare<() => number>('getpid', 'int', []);
export const gettid = declare<() => number>('gettid', 'int', []);
export const schedSetaffinity = declare<(thread: number, length: number, set: Uint8Array) => number>(
  'sched_setaffinity',
  'int',
  ['int', 'size_t', 'void *'],
);
export const tgkill = declare<(tgid: number, tid: number, signal: number) => number>('tgkill', 'int', [
  'int',
  'int',
  'int',
]);
export const sigaction = declare<(signal: number, action: Pointer, previous: Pointer) => number>(
  'sigaction',
  'int',
  ['int', 'void *', 'void *'],
);
export const socket = declare<(domain: number, type: number, protocol: number) => number>('socket', 'int', [
  'int',
  'int',
  'int',
]);
export const recv = declare<(fd: number, buffer: Pointer, length: number, flags: number) => number>(
  'recv',
  'int64_t',
  ['int', 'void *', 'size_t', 'int'],
);
export const setsockopt = declare<
  (fd: number, level: number, name: number, value: Pointer, length: number) => number
>('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'unsigned int']);
/** Of the calling thread alone: whoever calls it on Node's main thread goes back before anything else runs. */
export const setns = declare<(fd: number, kind: number) => number>('setns', 'int', ['int', 'int']);
export const unshare = declare<(flags: number) => number>('unshare', 'int', ['int']);
/** Without a file system type and data: binds, moves and changes of propagation. */
export const bindMount = declare<
  (source: string, target: string, type: null, flags: number, data: null) => number
>('mount', 'int', ['str', 'str', 'str', 'unsigned long', 'void *']);
export const umount2 = declare<(target: string, flags: number) => number>('umount2', 'int', ['str', 'int']);
export const flock = declare<(fd: number, operation: number) => number>('flock', 'int', ['int', 'int']);
/** A raw system call for what libc does not wrap (io_uring). */
export const syscall = declare<
  (number: number, a: number, b: number, c: number, d: number, e: number, f: number) => number
>('syscall', 'int64_t', ['long', 'long', 'long', 'long', 'long', 'long', 'long']);

/** Ends the process at once: no exit handlers, no thread is waited for. stdout and stderr have no buffer of ours on Linux. */
export const exitNow = declare<(status: number) => never>('_exit', 'void', ['int']);

/** errno of this thread's last foreign call. */
export function lastErrno(): number {
  return koffi.errno();
}

/**
 * Passes a call's result through, or throws when it is -1.
 *
 * @param call the call's name as its man page spells it
 * @param object what it was called on, for the message
 * @throws SystemError
 */
export function check(result: number, call: string, object = '', hint?: string): number {
  if (result === -1) throw new SystemError(call, object, koffi.errno(), hint);
  return result;
}

/** The address of a libc symbol, e.g. for a signal handler. */
export function symbolAddress(name: string): number {
  return Number(koffi.address(libc.symbol(name)));
}

/** A live view of `length` bytes of this process's memory; at most 1 GiB (larger views abort the process in V8). */
export function viewMemory(address: number, length: number): ArrayBuffer {
  if (length > 2 ** 30) throw new RangeError(`a view of ${length} bytes is too large: at most 1 GiB each`);
  return koffi.view(address, length);
}
