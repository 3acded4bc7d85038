/**
 * A file in memory that a process of a container writes to and we read afterwards. Unlike a pipe it needs nobody who reads meanwhile, and
 * a process that is left in the background cannot hold up its end. The pages are charged to the cgroup of whoever writes them.
 */
import { readSync } from 'node:fs';
import { FileDescriptor } from '../../sys/fd.js';
import { check, memfdCreate } from '../../sys/libc.js';

const MFD_CLOEXEC = 0x01;

export class ScratchFile implements Disposable {
  readonly #file: FileDescriptor;

  private constructor(file: FileDescriptor) {
    this.#file = file;
  }

  /** @throws SystemError */
  static make(name: string): ScratchFile {
    return new ScratchFile(
      new FileDescriptor(check(memfdCreate(name, MFD_CLOEXEC), 'memfd_create', name), name),
    );
  }

  get fd(): number {
    return this.#file.fd;
  }

  /** The first `limit` bytes as UTF-8. The file may be of any size: what writes it is not trusted. */
  text(limit: number): string {
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < limit; ) {
      const chunk = Buffer.alloc(Math.min(64 * 1024, limit - at));
      const got = readSync(this.fd, chunk, 0, chunk.length, at);
      if (got === 0) break;
      chunks.push(chunk.subarray(0, got));
      at += got;
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}
