/** eventfd(2): the counter that KVM (ioeventfd, irqfd), epoll and io_uring all understand. */
import { FileDescriptor } from './fd.js';
import { check, eventfd, read, write } from './libc.js';

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

const one = new BigUint64Array([1n]);
const sink = new BigUint64Array(1);

/** Creates a non-blocking eventfd. @throws SystemError */
export function createEventfd(name: string): FileDescriptor {
  return new FileDescriptor(check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd', name), name);
}

/** Adds one. A counter that is full stays signalled, so nothing is lost. */
export function signalEventfd(fd: number): void {
  write(fd, one, 8);
}

/** Resets the counter; true when it was signalled. */
export function drainEventfd(fd: number): boolean {
  return read(fd, sink, 8) === 8;
}
