/** Unix sockets that carry descriptors (unix(7), SCM_RIGHTS): connect by path, send one, receive one. Blocking, for small exchanges. */
import { ERRNO } from './errno.js';
import { SystemError } from './errors.js';
import { FileDescriptor } from './fd.js';
import { check, declare, lastErrno, type Pointer, socket } from './libc.js';
import { Mapping } from './mapping.js';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
/** struct sockaddr_un: family u16, then the path. */
const PATH_SIZE = 108;

/** Layout of the scratch memory: msghdr (56 bytes), iovec (16), control message (16 + 4, aligned to 24), payload. */
const IOVEC = 64;
const CONTROL = 96;
const CONTROL_SIZE = 24;
const CMSG_LENGTH = 20;
const PAYLOAD = 128;
const MAX_PAYLOAD = 4096 - PAYLOAD;

export const rawConnect = declare<(fd: number, address: Pointer, length: number) => number>(
  'connect',
  'int',
  ['int', 'void *', 'unsigned int'],
);
const rawSendmsg = declare<(fd: number, message: number, flags: number) => number>('sendmsg', 'int64_t', [
  'int',
  'int64_t',
  'int',
]);
const rawRecvmsg = declare<(fd: number, message: number, flags: number) => number>('recvmsg', 'int64_t', [
  'int',
  'int64_t',
  'int',
]);

/** Connects to a stream socket in the file system. @throws SystemError (ENAMETOOLONG for more than 107 bytes, as bind(2) would have it) */
export function connectUnix(path: string): FileDescriptor {
  const bytes = Buffer.from(path);
  if (bytes.length >= PATH_SIZE) throw new SystemError('connect', path, ERRNO.ENAMETOOLONG);
  const address = new Uint8Array(2 + PATH_SIZE);
  address[0] = AF_UNIX;
  address.set(bytes, 2);
  const fd = new FileDescriptor(check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), 'socket', path), path);
  try {
    check(rawConnect(fd.fd, address, address.length), 'connect', path);
    return fd;
  } catch (error) {
    fd[Symbol.dispose]();
    throw error;
  }
}

/** Sends a descriptor with a payload of 1 byte to 3 KiB. @throws SystemError */
export function sendDescriptor(socketFd: number, descriptor: number, payload: Uint8Array): void {
  if (payload.length === 0 || payload.length > MAX_PAYLOAD)
    throw new RangeError(`a payload of ${payload.length} bytes is not 1 to ${MAX_PAYLOAD}`);
  using memory = Mapping.anonymous(4096, 'a message');
  const view = message(memory, payload.length);
  new Uint8Array(memory.view()).set(payload, PAYLOAD);
  view.setBigUint64(CONTROL, BigInt(CMSG_LENGTH), true);
  view.setInt32(CONTROL + 8, SOL_SOCKET, true);
  view.setInt32(CONTROL + 12, SCM_RIGHTS, true);
  view.setInt32(CONTROL + 16, descriptor, true);
  for (;;) {
    const sent = rawSendmsg(socketFd, memory.address, MSG_NOSIGNAL);
    if (sent === -1 && lastErrno() === ERRNO.EINTR) continue;
    check(sent, 'sendmsg', `fd ${socketFd}`);
    return;
  }
}

/** What one recvmsg(2) gets. */
export interface ReceivedMessage {
  /** At most 3968 bytes; none at the end. */
  readonly bytes: Uint8Array;
  readonly descriptor?: FileDescriptor;
}

/** Waits for a descriptor. @returns undefined when the other end is closed, or sends bytes without one @throws SystemError */
export function receiveDescriptor(socketFd: number, name: string): FileDescriptor | undefined {
  return receiveMessage(socketFd, name).descriptor;
}

/** Waits for a packet, or a piece of a stream, and the descriptor that may come with it. @throws SystemError */
export function receiveMessage(socketFd: number, name: string): ReceivedMessage {
  using memory = Mapping.anonymous(4096, 'a message');
  const view = message(memory, MAX_PAYLOAD);
  let length: number;
  do {
    length = rawRecvmsg(socketFd, memory.address, MSG_CMSG_CLOEXEC);
  } while (length === -1 && lastErrno() === ERRNO.EINTR);
  check(length, 'recvmsg', `fd ${socketFd}`);
  const bytes = new Uint8Array(memory.view()).slice(PAYLOAD, PAYLOAD + length);
  const isDescriptor =
    view.getBigUint64(40, true) >= BigInt(CMSG_LENGTH) &&
    view.getBigUint64(CONTROL, true) === BigInt(CMSG_LENGTH) &&
    view.getInt32(CONTROL + 8, true) === SOL_SOCKET &&
    view.getInt32(CONTROL + 12, true) === SCM_RIGHTS;
  if (!isDescriptor) return { bytes };
  return { bytes, descriptor: new FileDescriptor(view.getInt32(CONTROL + 16, true), name) };
}

/** struct msghdr with one buffer and room for one descriptor. */
function message(memory: Mapping, payload: number): DataView {
  const view = new DataView(memory.view());
  const at = (offset: number) => BigInt(memory.address + offset);
  view.setBigUint64(16, at(IOVEC), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, at(CONTROL), true);
  view.setBigUint64(40, BigInt(CONTROL_SIZE), true);
  view.setBigUint64(IOVEC, at(PAYLOAD), true);
  view.setBigUint64(IOVEC + 8, BigInt(payload), true);
  return view;
}
