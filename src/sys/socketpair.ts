/** A pair of connected Unix sockets (socketpair(2)), and blocking reads and writes on one with a time limit: for threads that may wait. */
import { FileDescriptor } from './fd.js';
import { check, declare, lastErrno, type Pointer, recv } from './libc.js';
import { now } from './time.js';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const POLLIN = 1;
const EINTR = 4;
const EAGAIN = 11;
const ECONNRESET = 104;

const rawSocketpair = declare<(domain: number, type: number, protocol: number, fds: Pointer) => number>(
  'socketpair',
  'int',
  ['int', 'int', 'int', 'void *'],
);
const rawPoll = declare<(fds: Pointer, count: number, timeoutMs: number) => number>('poll', 'int', [
  'void *',
  'unsigned long',
  'int',
]);
const rawSend = declare<(fd: number, buffer: Pointer, length: number, flags: number) => number>(
  'send',
  'int64_t',
  ['int', 'void *', 'size_t', 'int'],
);

/** Two ends of a stream, or of a line of packets, both close-on-exec. @throws SystemError (EMFILE) */
export function createSocketpair(
  name: string,
  of: 'stream' | 'packets' = 'stream',
): readonly [FileDescriptor, FileDescriptor] {
  const fds = new Int32Array(2);
  const type = of === 'stream' ? SOCK_STREAM : SOCK_SEQPACKET;
  check(rawSocketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 'socketpair', name);
  return [new FileDescriptor(fds[0], name), new FileDescriptor(fds[1], `other end of ${name}`)];
}

/**
 * Waits until `fd` can be read or its other end is closed. A signal does not end the wait (Node's own handlers run later).
 *
 * @param timeoutMs -1 for as long as it takes
 * @returns false when the time is up
 */
export function waitReadable(fd: number, timeoutMs: number): boolean {
  const deadline = timeoutMs < 0 ? 0 : now() + timeoutMs;
  for (;;) {
    // struct pollfd: fd, then events and revents of two bytes each.
    const entry = Int32Array.of(fd, POLLIN);
    const left = timeoutMs < 0 ? -1 : Math.max(0, Math.ceil(deadline - now()));
    const ready = rawPoll(entry, 1, left);
    if (ready === -1 && lastErrno() === EINTR) continue;
    return check(ready, 'poll', `fd ${fd}`) > 0;
  }
}

let received = new Uint8Array(0);

/**
 * What is there to read now, at most `limit` bytes.
 *
 * @returns an empty array at the end of the stream (or after a reset), undefined when nothing has come yet
 */
export function receiveNow(fd: number, limit: number): Uint8Array | undefined {
  // What comes is mostly much less than could come.
  if (received.length < limit) received = new Uint8Array(limit);
  for (;;) {
    const got = recv(fd, received, limit, MSG_DONTWAIT);
    if (got >= 0) return received.slice(0, got);
    const errno = lastErrno();
    if (errno === EAGAIN) return undefined;
    if (errno === ECONNRESET) return new Uint8Array(0);
    if (errno !== EINTR) check(got, 'recv', `fd ${fd}`);
  }
}

/** Sends all of `bytes`, waiting where needed, without SIGPIPE. @throws SystemError (EPIPE when nobody is there) */
export function sendAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    const sent = rawSend(fd, bytes.subarray(at), bytes.length - at, MSG_NOSIGNAL);
    if (sent === -1 && lastErrno() === EINTR) continue;
    at += check(sent, 'send', `fd ${fd}`);
  }
}
