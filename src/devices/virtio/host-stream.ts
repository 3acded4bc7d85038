/**
 * One end of a byte stream on the host (pipe, terminal, socket, file) that never makes its caller wait.
 *
 * A descriptor like stdout is shared with other processes, and O_NONBLOCK is a property of what is shared: setting it would break them. So
 * pipes and terminals are opened once more, for a description of our own; sockets have MSG_DONTWAIT; what can be neither is asked with
 * poll(2) before each call, and given no more than fits. Regular files are used as they are, at their shared position.
 */
import { constants, fstatSync } from 'node:fs';
import { constants as os } from 'node:os';
import { isatty } from 'node:tty';
import { FileDescriptor } from '../../sys/fd.js';
import { check, fcntl, lastErrno, open, read, syscall, write } from '../../sys/libc.js';
import { Mapping } from '../../sys/mapping.js';

/** Nothing moves now: wait for readiness. */
export const WOULD_BLOCK = -1;
/** The other end is gone, or the medium failed. */
export const BROKEN = -2;

const F_DUPFD_CLOEXEC = 1030;
const O_CLOEXEC = 0o2000000;
const SYS_poll = 7;
const SYS_sendto = 44;
const SYS_recvfrom = 45;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const POLLIN = 1;
const POLLOUT = 4;
/** What a pipe takes without waiting once it is writable (PIPE_BUF, pipe(7)); a terminal promises less. */
const PIPE_CHUNK = 4096;
const TTY_CHUNK = 64;

type Kind = 'nonblocking' | 'socket' | 'polled' | 'file';

export class HostStream implements Disposable {
  readonly #file: FileDescriptor;
  readonly #kind: Kind;
  readonly #chunk: number;
  readonly #pollfd: Mapping | undefined;

  private constructor(file: FileDescriptor, kind: Kind, chunk: number) {
    this.#file = file;
    this.#kind = kind;
    this.#chunk = chunk;
    if (kind !== 'polled') return;
    this.#pollfd = Mapping.anonymous(4096, 'pollfd');
    new Int32Array(this.#pollfd.view())[0] = file.fd;
  }

  /**
   * Wraps `fd`, which stays the caller's and may be closed by it afterwards.
   *
   * @param direction what the stream is used for
   * @throws SystemError when it is not an open descriptor (EBADF)
   */
  static of(fd: number, direction: 'read' | 'write', name: string): HostStream {
    const own = new FileDescriptor(check(fcntl(fd, F_DUPFD_CLOEXEC, 3), 'fcntl F_DUPFD_CLOEXEC', name), name);
    const stats = fstatSync(own.fd);
    if (stats.isSocket()) return new HostStream(own, 'socket', Number.MAX_SAFE_INTEGER);
    const tty = isatty(own.fd);
    if (!stats.isFIFO() && !tty) return new HostStream(own, 'file', Number.MAX_SAFE_INTEGER);
    const access = direction === 'read' ? constants.O_RDONLY : constants.O_WRONLY;
    const flags = access | constants.O_NONBLOCK | constants.O_NOCTTY | O_CLOEXEC;
    const again = open(`/proc/self/fd/${own.fd}`, flags, 0);
    // Another user's terminal, or a pipe without a reader.
    if (again < 0) return new HostStream(own, 'polled', tty ? TTY_CHUNK : PIPE_CHUNK);
    own[Symbol.dispose]();
    return new HostStream(new FileDescriptor(again, name), 'nonblocking', Number.MAX_SAFE_INTEGER);
  }

  /** For epoll; regular files refuse to be polled (EPERM). */
  get fd(): number {
    return this.#file.fd;
  }

  /** Whether readiness can be waited for. Files are always ready. */
  get pollable(): boolean {
    return this.#kind !== 'file';
  }

  #ready(events: number): boolean {
    const pollfd = this.#pollfd;
    if (pollfd === undefined) return true;
    const words = new Int32Array(pollfd.view(0, 8));
    words[1] = events;
    return syscall(SYS_poll, pollfd.address, 1, 0, 0, 0, 0) > 0;
  }

  /** Writes from host memory. Returns bytes (perhaps fewer), {@link WOULD_BLOCK} or {@link BROKEN}. */
  write(address: number, length: number): number {
    if (!this.#ready(POLLOUT)) return WOULD_BLOCK;
    const size = Math.min(length, this.#chunk);
    const fd = this.#file.fd;
    for (;;) {
      const written =
        this.#kind === 'socket'
          ? syscall(SYS_sendto, fd, address, size, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0)
          : write(fd, address, size);
      if (written >= 0) return written;
      const outcome = classify(lastErrno());
      if (outcome !== 0) return outcome;
    }
  }

  /** Reads into host memory. Returns bytes, 0 at the end, {@link WOULD_BLOCK} or {@link BROKEN}. */
  read(address: number, length: number): number {
    if (!this.#ready(POLLIN)) return WOULD_BLOCK;
    const fd = this.#file.fd;
    for (;;) {
      const got =
        this.#kind === 'socket'
          ? syscall(SYS_recvfrom, fd, address, length, MSG_DONTWAIT, 0, 0)
          : read(fd, address, length);
      if (got >= 0) return got;
      const outcome = classify(lastErrno());
      if (outcome !== 0) return outcome;
    }
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
    this.#pollfd?.[Symbol.dispose]();
  }
}

/** 0: try again at once. */
function classify(errno: number): number {
  if (errno === os.errno.EINTR) return 0;
  return errno === os.errno.EAGAIN ? WOULD_BLOCK : BROKEN;
}
