/** Signals to a container: to its first process, or to all of them. The first process is held by a pidfd, so that no other one is hit. */
import { ERRNO } from '../../sys/errno.js';
import { SystemError } from '../../sys/errors.js';
import { close, lastErrno, syscall } from '../../sys/libc.js';
import { SIGNALS } from '../spec/signals.js';
import { ContainerStatusError, errnoOf, KillError } from './errors.js';
import { isAlive, type ProcessName } from './process-info.js';
import type { ContainerRecord } from './record.js';
import { cgroupOf, statusOf } from './status.js';
import type { ContainerFolder } from './store.js';

/** arch/x86/entry/syscalls/syscall_64.tbl */
const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;
const { SIGKILL } = SIGNALS;

/** @throws ContainerStatusError when it has ended, KillError */
export function killContainer(
  folder: ContainerFolder,
  record: ContainerRecord,
  signal: number,
  options: { all: boolean },
): void {
  const cgroup = cgroupOf(record);
  // Without a pid namespace of its own its other processes do not die with the first.
  if (options.all || (signal === SIGKILL && !record.ownPidNamespace)) {
    const pids = cgroup?.pids() ?? [];
    if (pids.length === 0) return void refuseStopped(folder, record, options.all);
    for (const pid of pids) signalOne(pid, signal);
  } else {
    refuseStopped(folder, record, false);
    if (record.init === undefined || !signalProcess(record.init, signal))
      throw new ContainerStatusError('container not running');
  }
  // On cgroup v1 what is frozen does not even die.
  if (signal === SIGKILL && cgroup?.freezerState() === 'frozen') cgroup.thaw();
}

function refuseStopped(folder: ContainerFolder, record: ContainerRecord, tolerant: boolean): void {
  const status = statusOf(folder, record);
  if (status === 'stopped' && !tolerant)
    throw new ContainerStatusError('container not running', { hint: 'It has ended.' });
  if (status === 'creating') throw new ContainerStatusError('container not running: it is being created');
}

function signalOne(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH')
      throw new KillError(`cannot send signal ${signal} to process ${pid}: ${errnoOf(error)}`, {
        cause: error,
      });
  }
}

/** @returns false when the process has ended @throws KillError */
export function signalProcess(name: ProcessName, signal: number): boolean {
  const { pid } = name;
  const fd = syscall(SYS_PIDFD_OPEN, pid, 0, 0, 0, 0, 0);
  if (fd === -1) {
    const errno = lastErrno();
    if (errno === ERRNO.ESRCH || errno === ERRNO.EINVAL) return false;
    throw killError(pid, signal, new SystemError('pidfd_open', String(pid), errno));
  }
  try {
    // What the descriptor holds is what it was when the container was made, or it has another start time.
    if (!isAlive(name)) return false;
    if (syscall(SYS_PIDFD_SEND_SIGNAL, fd, signal, 0, 0, 0, 0) === -1) {
      const errno = lastErrno();
      if (errno === ERRNO.ESRCH) return false;
      throw killError(pid, signal, new SystemError('pidfd_send_signal', String(pid), errno));
    }
    return true;
  } finally {
    close(fd);
  }
}

function killError(pid: number, signal: number, cause: SystemError): KillError {
  return new KillError(`cannot send signal ${signal} to the container's process ${pid}: ${cause.code}`, {
    cause,
  });
}
