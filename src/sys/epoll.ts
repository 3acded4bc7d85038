/**
 * epoll(7), level-triggered, for threads that block in it. Handlers are kept by descriptor; `wait` calls those that are ready.
 */

import { ERRNO } from './errno.js';
import { SystemError } from './errors.js';
import { FileDescriptor } from './fd.js';
import { check, epollCreate1, epollCtl, epollWait, lastErrno } from './libc.js';
import { Mapping } from './mapping.js';

export const EPOLLIN = 0x001;
export const EPOLLPRI = 0x002;
export const EPOLLOUT = 0x004;
export const EPOLLERR = 0x008;
export const EPOLLET = 2 ** 31;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const EPOLL_CLOEXEC = 0o2000000;
/** struct epoll_event is packed on x86-64: u32 events, u64 data. */
const EVENT_SIZE = 12;
const MAX_EVENTS = 64;

/** Called with the ready event mask. */
export type EpollHandler = (events: number) => void;

export class Epoll implements Disposable {
  readonly #epoll = new FileDescriptor(check(epollCreate1(EPOLL_CLOEXEC), 'epoll_create1'), 'epoll');
  readonly #memory = Mapping.anonymous(4096, 'epoll events');
  readonly #events = new DataView(this.#memory.view());
  readonly #handlers = new Map<number, EpollHandler>();

  /** Readable while a watched descriptor is ready: an epoll can be watched itself. */
  get fd(): number {
    return this.#epoll.fd;
  }

  /** Watches `fd`. @throws SystemError (EPERM: the file cannot be polled, e.g. a regular file) */
  add(fd: number, events: number, handler: EpollHandler): void {
    this.#control(EPOLL_CTL_ADD, fd, events);
    this.#handlers.set(fd, handler);
  }

  modify(fd: number, events: number): void {
    this.#control(EPOLL_CTL_MOD, fd, events);
  }

  /** Stops watching; unknown descriptors are ignored. */
  remove(fd: number): void {
    if (!this.#handlers.delete(fd)) return;
    epollCtl(this.#epoll.fd, EPOLL_CTL_DEL, fd, null);
  }

  #control(operation: number, fd: number, events: number): void {
    const event = new DataView(new ArrayBuffer(EVENT_SIZE));
    event.setUint32(0, events >>> 0, true);
    event.setUint32(4, fd, true);
    check(epollCtl(this.#epoll.fd, operation, fd, event), 'epoll_ctl', `fd ${fd}`);
  }

  /**
   * Waits and dispatches. Returns the number of descriptors that were ready; 0 after a time-out or a signal.
   *
   * @param timeoutMs -1 waits for ever
   */
  wait(timeoutMs = -1): number {
    const ready = epollWait(this.#epoll.fd, this.#memory.address, MAX_EVENTS, timeoutMs);
    if (ready < 0) {
      const errno = lastErrno();
      if (errno === ERRNO.EINTR) return 0;
      throw new SystemError('epoll_wait', '', errno);
    }
    for (let i = 0; i < ready; i++) {
      const events = this.#events.getUint32(i * EVENT_SIZE, true);
      const fd = this.#events.getUint32(i * EVENT_SIZE + 4, true);
      this.#handlers.get(fd)?.(events);
    }
    return ready;
  }

  [Symbol.dispose](): void {
    this.#handlers.clear();
    this.#epoll[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }
}
