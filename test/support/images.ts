/**
 * Images made by hand, for tests: layers from short lists of entries, and a store in a temporary folder.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { digestOf } from '../../src/container/image/digest.js';
import { ImageStore } from '../../src/container/image/store.js';
import { type TarInput, tarEnd, tarFile, tarHeader } from '../../src/container/image/tar-writer.js';

/** An entry, with its bytes where it is a file with content. */
export type Entry = TarInput & { readonly body?: string };

export const dir = (name: string, more: Partial<Entry> = {}): Entry => ({
  name,
  type: 'directory',
  mode: 0o755,
  ...more,
});
export const file = (name: string, body = name): Entry => ({ name, body });
export const link = (name: string, linkName: string): Entry => ({ name, type: 'symlink', linkName });
export const hard = (name: string, linkName: string): Entry => ({ name, type: 'hardlink', linkName });

/** The archive of some entries. */
export function layerTar(entries: readonly Entry[]): Buffer {
  const parts = entries.map(({ body, ...entry }) =>
    (entry.type ?? 'file') === 'file' ? tarFile(entry, Buffer.from(body ?? '')) : tarHeader(entry),
  );
  return Buffer.concat([...parts, tarEnd()]);
}

/** A gzip layer as a registry has it. */
export function packedLayer(entries: readonly Entry[]): { packed: Buffer; diffId: string } {
  const tar = layerTar(entries);
  return { packed: gzipSync(tar), diffId: digestOf(tar) };
}

/** A store that goes away with its folder. */
export function temporaryStore(): { store: ImageStore; folder: string } & Disposable {
  const folder = mkdtempSync(join(tmpdir(), 'tvmm-store-'));
  return {
    store: ImageStore.open(join(folder, 'root')),
    folder,
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}
