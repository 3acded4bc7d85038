/** Whether mounts of this process's namespace have changed: poll(2) on a descriptor of /proc/PID/mountinfo (proc(5), since Linux 2.6.15). */
import { check, declare, lastErrno, type Pointer } from './libc.js';

const POLLPRI = 2;
const EINTR = 4;

const rawPoll = declare<(fds: Pointer, count: number, timeoutMs: number) => number>('poll', 'int', [
  'void *',
  'unsigned long',
  'int',
]);

/** Since the descriptor was opened, or since the last call that said so. @throws SystemError */
export function hasChanged(fd: number): boolean {
  // struct pollfd: fd, then events and revents of two bytes each. POLLERR comes unasked, too.
  const ready = rawPoll(Int32Array.of(fd, POLLPRI), 1, 0);
  // A signal that a handler of ours takes: whether there was something to say is not known.
  if (ready === -1 && lastErrno() === EINTR) return hasChanged(fd);
  return check(ready, 'poll', '/proc/self/mountinfo') > 0;
}
