/**
 * Locks between processes by flock(2): they end with their holder, however it ends. Waiting is done by asking again, since a blocking
 * call would stop the whole process. Two holders in one process exclude each other too.
 */
import { constants, openSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { SystemError } from '../../sys/errors.js';
import { close, flock, lastErrno } from '../../sys/libc.js';
import { now } from '../../sys/time.js';
import { ImageStoreError } from './errors.js';

/** <sys/file.h> */
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const EWOULDBLOCK = 11;
const EINTR = 4;
const FIRST_PAUSE_MS = 5;
const LAST_PAUSE_MS = 200;

export class Lock implements Disposable {
  #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Takes the lock if nobody has it. @throws SystemError */
  static tryAcquire(path: string, mode: 'shared' | 'exclusive'): Lock | undefined {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    const operation = (mode === 'shared' ? LOCK_SH : LOCK_EX) | LOCK_NB;
    let errno = 0;
    do errno = flock(fd, operation) === 0 ? 0 : lastErrno();
    while (errno === EINTR);
    if (errno === 0) return new Lock(fd);
    close(fd);
    if (errno !== EWOULDBLOCK) throw new SystemError('flock', path, errno);
    return undefined;
  }

  /** Waits for the lock. @throws ImageStoreError after `waitMs`, or the signal's reason */
  static async acquire(
    path: string,
    mode: 'shared' | 'exclusive',
    options: { readonly signal?: AbortSignal; readonly waitMs?: number; readonly what?: string } = {},
  ): Promise<Lock> {
    const { signal, waitMs = Number.POSITIVE_INFINITY, what = path } = options;
    const start = now();
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 1.5, LAST_PAUSE_MS)) {
      signal?.throwIfAborted();
      const lock = Lock.tryAcquire(path, mode);
      if (lock !== undefined) return lock;
      if (now() - start > waitMs) {
        throw new ImageStoreError(`${what} is in use by another tvmm`, {
          code: 'LOCKED',
          hint: 'Wait until it has finished, then try again.',
        });
      }
      await setTimeout(pause, undefined, signal === undefined ? {} : { signal });
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd === -1) return;
    // Closing the only descriptor of the open file gives the lock back.
    close(this.#fd);
    this.#fd = -1;
  }
}
