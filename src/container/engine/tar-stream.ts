/** Entries as a tar stream on a descriptor, which may be a slow pipe: `cp … -` and `export`. */
import { writeSync } from 'node:fs';
import type { TarHandler } from '../image/tar-reader.js';
import { tarEnd, tarHeader, tarPadding } from '../image/tar-writer.js';

export class TarStream implements TarHandler {
  #size = 0;

  constructor(private readonly fd: number) {}

  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      try {
        at += writeSync(this.fd, bytes, at, bytes.length - at);
      } catch (error) {
        // A pipe that Node has made non-blocking and that is full.
        if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      }
    }
  }

  entry(entry: Parameters<TarHandler['entry']>[0]): void {
    this.#size = entry.size;
    this.#write(tarHeader(entry));
  }

  data(bytes: Uint8Array): void {
    this.#write(bytes);
  }

  endEntry(): void {
    this.#write(tarPadding(this.#size));
  }

  /** Call once, after the last entry. */
  end(): void {
    this.#write(tarEnd());
  }
}
