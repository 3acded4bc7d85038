/** The files and bytes that a guest is loaded from, opened before anything else is made: a missing kernel costs nothing. */
import { type ByteSource, BytesSource, FileSource } from '../boot/index.js';
import type { Cleanup } from '../sys/cleanup.js';
import type { Blob, CompleteConfig } from './config.js';

export interface BootFiles {
  kernel: ByteSource;
  initrd: ByteSource[];
}

/** @throws KernelError, InitrdError that name the file */
export function openBootFiles(config: CompleteConfig, cleanup: Cleanup): BootFiles {
  const open = (blob: Blob, kind: 'kernel' | 'initrd'): ByteSource =>
    typeof blob === 'string'
      ? cleanup.use(FileSource.open(blob, kind))
      : new BytesSource(blob, `${kind} (${blob.length} bytes in memory)`);
  return { kernel: open(config.kernel, 'kernel'), initrd: config.initrd.map((blob) => open(blob, 'initrd')) };
}
