/**
 * The lock of one container (flock(2) on a file in its folder): gone with the process that holds it, whatever ended that. A folder that is
 * removed takes its lock file along, so whoever gets the lock looks whether it is still the one that others will find.
 */
import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { ERRNO } from '../../sys/errno.js';
import { SystemError } from '../../sys/errors.js';
import { flock, lastErrno } from '../../sys/libc.js';
import { delay } from '../../sys/time.js';
import { ContainerBusyError, errnoOf } from './errors.js';

const LOCK_EX = 2;
const LOCK_NB = 4;
const LONGEST_PAUSE_MS = 20;

export class ContainerLock implements Disposable {
  #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** The lock, or `busy` when somebody has it, or undefined when there is no such folder (any more). @throws SystemError */
  static try(path: string, create: boolean): ContainerLock | 'busy' | undefined {
    const fd = openLock(path, create);
    if (fd === undefined) return undefined;
    if (flock(fd, LOCK_EX | LOCK_NB) === -1) {
      const errno = lastErrno();
      closeSync(fd);
      if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return 'busy';
      throw new SystemError('flock', path, errno);
    }
    if (isAt(fd, path)) return new ContainerLock(fd);
    closeSync(fd);
    return undefined;
  }

  /**
   * Waits for the lock without blocking the event loop; undefined when the folder is gone or goes.
   *
   * @throws ContainerBusyError, SystemError
   */
  static async acquire(
    path: string,
    id: string,
    { create = false, timeoutMs }: { create?: boolean; timeoutMs: number },
  ): Promise<ContainerLock | undefined> {
    let waited = 0;
    for (let pause = 1; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      const lock = ContainerLock.try(path, create);
      if (lock !== 'busy') return lock;
      if (waited >= timeoutMs) throw new ContainerBusyError(id, timeoutMs);
      await delay(pause);
      waited += pause;
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
  }
}

function openLock(path: string, create: boolean): number | undefined {
  const flags = constants.O_RDWR | constants.O_NOFOLLOW | (create ? constants.O_CREAT : 0);
  try {
    return openSync(path, flags, 0o600);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error))) return undefined;
    throw error;
  }
}

function isAt(fd: number, path: string): boolean {
  const mine = fstatSync(fd);
  const there = statSync(path, { throwIfNoEntry: false });
  return there !== undefined && there.ino === mine.ino && there.dev === mine.dev;
}
