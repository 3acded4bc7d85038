/**
 * Locks between processes (flock(2)): held by an open file, gone with the process that held it, whatever ended that. Waiting never blocks
 * the event loop; two holders in one process exclude each other as two processes do.
 */
import { closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { ERRNO } from './errno.js';
import { SystemError, TvmmError } from './errors.js';
import { flock, lastErrno } from './libc.js';
import { delay } from './time.js';

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 50;

/** The lock was not free in time. */
export class LockTimeoutError extends TvmmError {
  constructor(path: string, milliseconds: number) {
    super(`${path} stayed locked for ${milliseconds / 1000} s`, {
      code: 'LOCK_TIMEOUT',
      hint: 'another tvmm command is at work there; `fuser -v` on that file shows which',
    });
  }
}

/** A held lock; disposing it lets go. */
export class FileLock implements Disposable {
  #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Waits for the lock on `path`, a file that is made when missing and never removed.
   *
   * @param kind `shared` with other shared holders, or `exclusive`
   * @throws LockTimeoutError, SystemError
   */
  static async acquire(path: string, kind: 'shared' | 'exclusive', timeoutMs: number): Promise<FileLock> {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    try {
      const operation = (kind === 'shared' ? LOCK_SH : LOCK_EX) | LOCK_NB;
      let waited = 0;
      for (
        let pause = FIRST_PAUSE_MS;
        flock(fd, operation) === -1;
        pause = Math.min(2 * pause, LONGEST_PAUSE_MS)
      ) {
        const errno = lastErrno();
        if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR) throw new SystemError('flock', path, errno);
        if (waited >= timeoutMs) throw new LockTimeoutError(path, timeoutMs);
        await delay(pause);
        waited += pause;
      }
      return new FileLock(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
  }
}
