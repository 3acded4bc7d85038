/** File descriptors that are closed by their owner: `using fd = FileDescriptor.open('/dev/kvm', O_RDWR)`. */
import { constants } from 'node:fs';
import { check, close, fcntl, open } from './libc.js';

const O_CLOEXEC = 0o2000000;
const F_DUPFD_CLOEXEC = 1030;

/** Owns one file descriptor. Disposing twice is harmless. */
export class FileDescriptor implements Disposable {
  #fd: number;

  /** @param name what the descriptor stands for, for error messages */
  constructor(
    fd: number,
    readonly name: string,
  ) {
    this.#fd = fd;
  }

  /** Opens `path` close-on-exec. @throws SystemError */
  static open(path: string, flags: number = constants.O_RDWR): FileDescriptor {
    return new FileDescriptor(check(open(path, flags | O_CLOEXEC, 0o600), 'open', path), path);
  }

  /** The raw number. @throws Error after disposal: a stale number may already name another file */
  get fd(): number {
    if (this.#fd < 0) throw new Error(`${this.name} is closed`);
    return this.#fd;
  }

  /** Another one of the same open file. @throws SystemError (EMFILE) */
  duplicate(): FileDescriptor {
    return new FileDescriptor(check(fcntl(this.fd, F_DUPFD_CLOEXEC, 3), 'fcntl', this.name), this.name);
  }

  get closed(): boolean {
    return this.#fd < 0;
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    close(this.#fd);
    this.#fd = -1;
  }
}
