/** pipe(2) with owned ends, and reading what is in one without waiting. */
import { FileDescriptor } from './fd.js';
import { check, pipe2, read } from './libc.js';

const O_CLOEXEC = 0o2000000;

export interface Pipe {
  readonly reader: FileDescriptor;
  readonly writer: FileDescriptor;
}

/** @throws SystemError (EMFILE) */
export function createPipe(name: string): Pipe {
  const fds = new Int32Array(2);
  check(pipe2(fds, O_CLOEXEC), 'pipe2', name);
  return {
    reader: new FileDescriptor(fds[0], `read end of ${name}`),
    writer: new FileDescriptor(fds[1], `write end of ${name}`),
  };
}

/** Reads until the end of the file; every writer must be closed, or this waits for it. At most `limit` bytes. */
export function readToEnd(fd: number, limit: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  let total = 0;
  while (total < limit) {
    const chunk = new Uint8Array(Math.min(4096, limit - total));
    const got = read(fd, chunk, chunk.length);
    if (got <= 0) break;
    chunks.push(chunk.subarray(0, got));
    total += got;
  }
  return Buffer.concat(chunks);
}
