/** pidfds (pidfd_open(2)): descriptors of processes, that never come to mean another one. */
import { FileDescriptor } from '../../sys/fd.js';
import { check, syscall } from '../../sys/libc.js';
import { connectUnix, sendDescriptor } from '../../sys/unix-socket.js';
import { ContainerStatusError } from './errors.js';
import { isAlive, type ProcessName } from './process-info.js';

/** arch/x86/entry/syscalls/syscall_64.tbl */
const SYS_PIDFD_OPEN = 434;

/** A pidfd of exactly this process. @throws ContainerStatusError when it has ended, SystemError */
export function openPidfd(name: ProcessName): FileDescriptor {
  const fd = new FileDescriptor(
    check(syscall(SYS_PIDFD_OPEN, name.pid, 0, 0, 0, 0, 0), 'pidfd_open', String(name.pid)),
    `process ${name.pid}`,
  );
  if (isAlive(name)) return fd;
  fd[Symbol.dispose]();
  throw new ContainerStatusError('container not running');
}

/** Gives a pidfd to who listens on a Unix socket, with the path of /proc/self/fd as payload, as runc does. @throws SystemError */
export function sendPidfd(socketPath: string, name: ProcessName): void {
  using pidfd = openPidfd(name);
  using socket = connectUnix(socketPath);
  sendDescriptor(socket.fd, pidfd.fd, Buffer.from('pidfd'));
}
