/**
 * A listening Unix socket whose connections are watched by the event loop, and tell who is at their other end. Node's own net module shows
 * neither the peer's credentials nor descriptors that are sent along (unix(7)).
 */
import { chmodSync, unlinkSync } from 'node:fs';
import { ERRNO } from './errno.js';
import { SystemError } from './errors.js';
import { FileDescriptor } from './fd.js';
import { check, declare, lastErrno, type Pointer, socket } from './libc.js';
import { Mapping } from './mapping.js';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;
/** struct sockaddr_un: family u16, then the path. */
const PATH_SIZE = 108;

export const rawBind = declare<(fd: number, address: Pointer, length: number) => number>('bind', 'int', [
  'int',
  'void *',
  'unsigned int',
]);
const rawListen = declare<(fd: number, backlog: number) => number>('listen', 'int', ['int', 'int']);
const rawAccept4 = declare<(fd: number, address: null, length: null, flags: number) => number>(
  'accept4',
  'int',
  ['int', 'void *', 'void *', 'int'],
);
const rawGetsockopt = declare<
  (fd: number, level: number, name: number, value: Pointer, length: Pointer) => number
>('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *']);
const rawSend = declare<(fd: number, buffer: Pointer, length: number, flags: number) => number>(
  'send',
  'int64_t',
  ['int', 'void *', 'size_t', 'int'],
);
const rawSendmsg = declare<(fd: number, message: number, flags: number) => number>('sendmsg', 'int64_t', [
  'int',
  'int64_t',
  'int',
]);

/** Who is at the other end of a connection, in this process's namespaces; pid 0 is nobody that can be seen from here. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Listens at `path`, which only this user may connect to.
 *
 * @param backlog connections that may wait to be accepted
 * @throws SystemError (EADDRINUSE where something is at the path already)
 */
export function listenUnix(path: string, backlog: number): FileDescriptor {
  const bytes = Buffer.from(path);
  if (bytes.length >= PATH_SIZE) throw new SystemError('bind', path, ERRNO.ENAMETOOLONG);
  const address = new Uint8Array(2 + PATH_SIZE);
  address[0] = AF_UNIX;
  address.set(bytes, 2);
  const fd = new FileDescriptor(
    check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), 'socket', path),
    path,
  );
  try {
    check(rawBind(fd.fd, address, address.length), 'bind', path);
    chmodSync(path, 0o600);
    check(rawListen(fd.fd, backlog), 'listen', path);
    return fd;
  } catch (error) {
    fd[Symbol.dispose]();
    if (!(error instanceof SystemError && error.syscall === 'bind')) unlinkSync(path);
    throw error;
  }
}

/** The next connection that waits, not blocking; undefined when none does (any more). @throws SystemError (EMFILE) */
export function acceptNow(listener: FileDescriptor): FileDescriptor | undefined {
  const fd = rawAccept4(listener.fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd !== -1) return new FileDescriptor(fd, 'a connection');
  const errno = lastErrno();
  if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR || errno === ERRNO.ECONNABORTED) return undefined;
  throw new SystemError('accept4', listener.name, errno);
}

/** @throws SystemError */
export function peerCredentials(fd: number): PeerCredentials {
  const value = new Uint32Array(3);
  const length = Uint32Array.of(value.byteLength);
  check(rawGetsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length), 'getsockopt SO_PEERCRED', `fd ${fd}`);
  const [pid = 0, uid = 0, gid = 0] = value;
  return { pid, uid, gid };
}

/** Sends what goes without waiting. @returns how many bytes that were @throws SystemError (EPIPE, ECONNRESET) */
export function sendNow(fd: number, bytes: Uint8Array): number {
  const sent = rawSend(fd, bytes, bytes.length, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent >= 0) return sent;
  const errno = lastErrno();
  if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return 0;
  throw new SystemError('send', `fd ${fd}`, errno);
}

/** Layout of the message: msghdr (56 bytes), iovec (16), control message (16 + 4 each), payload. */
const IOVEC = 64;
const CONTROL = 96;
const CMSG_HEADER = 16;
const PAYLOAD = 256;
const MAX_DESCRIPTORS = 16;
const MAX_PAYLOAD = 4096 - PAYLOAD;
let scratch: Mapping | undefined;

/**
 * Sends descriptors with a payload of 1 byte to some KiB, in one message that is taken whole or not at all.
 *
 * @returns false when the socket has no room for it now
 * @throws SystemError
 */
export function sendDescriptorsNow(
  socketFd: number,
  descriptors: readonly number[],
  payload: Uint8Array,
): boolean {
  if (payload.length === 0 || payload.length > MAX_PAYLOAD)
    throw new RangeError(`a payload of ${payload.length} bytes is not 1 to ${MAX_PAYLOAD}`);
  if (descriptors.length === 0 || descriptors.length > MAX_DESCRIPTORS)
    throw new RangeError(`${descriptors.length} descriptors are not 1 to ${MAX_DESCRIPTORS}`);
  scratch ??= Mapping.anonymous(4096, 'a message');
  const { address } = scratch;
  const bytes = new Uint8Array(scratch.view());
  const view = new DataView(scratch.view());
  const length = CMSG_HEADER + 4 * descriptors.length;
  bytes.fill(0, 0, PAYLOAD);
  view.setBigUint64(16, BigInt(address + IOVEC), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, BigInt(address + CONTROL), true);
  view.setBigUint64(40, BigInt((length + 7) & ~7), true);
  view.setBigUint64(IOVEC, BigInt(address + PAYLOAD), true);
  view.setBigUint64(IOVEC + 8, BigInt(payload.length), true);
  view.setBigUint64(CONTROL, BigInt(length), true);
  view.setInt32(CONTROL + 8, SOL_SOCKET, true);
  view.setInt32(CONTROL + 12, SCM_RIGHTS, true);
  descriptors.forEach((fd, index) => {
    view.setInt32(CONTROL + CMSG_HEADER + 4 * index, fd, true);
  });
  bytes.set(payload, PAYLOAD);
  for (;;) {
    const sent = rawSendmsg(socketFd, address, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent !== -1) return true;
    const errno = lastErrno();
    if (errno === ERRNO.EAGAIN) return false;
    if (errno !== ERRNO.EINTR) throw new SystemError('sendmsg', `fd ${socketFd}`, errno);
  }
}
