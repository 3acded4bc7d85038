/**
 * Layers in the store: unpacked once, shared by every image that has the same stack up to there, and only visible when they are whole.
 */
import { createReadStream } from 'node:fs';
import { access, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { syncfs } from '../../sys/at.js';
import { check } from '../../sys/libc.js';
import { type Digest, Digester, parseDigest, verifyDigest } from './digest.js';
import { ImageStoreError } from './errors.js';
import { removeTree, syncFolder, temporaryName } from './files.js';
import { JsonView } from './json.js';
import { canOverlay } from './overlay-support.js';
import type { ImageStore, StoredImage, StoreOptions } from './store.js';
import { decompress, unpackLayer } from './unpack.js';

/** What is known of an unpacked layer. */
export interface LayerInfo {
  readonly chainId: Digest;
  readonly diffId: Digest;
  /** Bytes of its files, and of its archive before it was packed. */
  readonly bytes: number;
  readonly archiveSize: number;
  readonly skippedDevices: number;
}

/** Kept free: a disk that is full to the last byte stops everything else on it. */
const RESERVE = 64 * 2 ** 20;

/** What layer.json says, or undefined where there is no such layer. */
export async function layerInfo(store: ImageStore, chainId: Digest): Promise<LayerInfo | undefined> {
  const path = join(store.layerFolder(chainId), 'layer.json');
  const text = await readFile(path).catch(() => undefined);
  if (text === undefined) return undefined;
  const view = JsonView.parse(text, path);
  return {
    chainId,
    diffId: parseDigest(view.member('diffId').string(), path),
    bytes: view.member('bytes').size(),
    archiveSize: view.member('archiveSize').size(),
    skippedDevices: view.member('skippedDevices').size(),
  };
}

/** The folder that overlayfs takes. */
export function diffFolder(store: ImageStore, chainId: Digest): string {
  return join(store.layerFolder(chainId), 'diff');
}

/**
 * Makes sure that an image's layer number `index` is unpacked; the ones below must be. Its blob must be in the store, and the caller
 * must hold the store's shared lock. Nothing stays when it fails.
 *
 * @throws LayerError TarError DigestMismatchError ImageStoreError
 */
export async function ensureLayer(
  store: ImageStore,
  image: Pick<StoredImage, 'manifest' | 'config' | 'chain'>,
  index: number,
  options: StoreOptions = {},
): Promise<void> {
  const chainId = image.chain[index];
  const diffId = image.config.diffIds[index];
  const descriptor = image.manifest.layers[index];
  if (chainId === undefined || diffId === undefined || descriptor === undefined) {
    throw new ImageStoreError(`the image has no layer ${index}`, { code: 'STORE_DAMAGED' });
  }
  if (await isUnpacked(store, chainId, descriptor.digest)) return;
  using _lock = await store.lockItem('layer', chainId, options);
  if ((await layerInfo(store, chainId)) !== undefined) {
    if (!(await isUnpacked(store, chainId, descriptor.digest)))
      await vouch(store, chainId, diffId, descriptor.digest, options);
    return;
  }
  const lower = image.chain
    .slice(0, index)
    .map((one) => diffFolder(store, one))
    .reverse();
  const folder = store.path('tmp', temporaryName('layer'));
  await mkdir(join(folder, 'diff'), { recursive: true, mode: 0o755 });
  try {
    const blob = openBlob(store, descriptor.digest);
    const unpacked = !(await canOverlay(store))
      ? await checkLayer(blob, diffId, options.signal)
      : await unpackLayer(blob, join(folder, 'diff'), {
          whiteouts: store.userXattr ? 'overlay-user' : 'overlay',
          privileged: store.privileged,
          maxBytes: Math.max(0, (await store.freeBytes()) - RESERVE),
          lower,
          diffId,
          ...(options.signal === undefined ? {} : { signal: options.signal }),
        });
    const info: LayerInfo = {
      chainId,
      diffId,
      bytes: unpacked.bytes,
      archiveSize: unpacked.archiveSize,
      skippedDevices: unpacked.skippedDevices,
    };
    await writeFile(join(folder, 'layer.json'), JSON.stringify(info));
    await writeFile(join(folder, markOf(descriptor.digest)), '');
    const handle = await open(folder, 'r');
    try {
      // One call for thousands of files: after the rename below the layer counts as good for ever.
      check(syncfs(handle.fd), 'syncfs', folder);
    } finally {
      await handle.close();
    }
    await rename(folder, store.layerFolder(chainId));
    await syncFolder(store.path('layers'));
  } catch (error) {
    await removeTree(folder);
    if (options.signal?.aborted !== true) await discardDamaged(store, descriptor.digest, error);
    throw error;
  }
}

/** The file that says that a blob unpacks to a layer. */
function markOf(blob: Digest): string {
  return `from-${blob.replace(':', '-')}`;
}

/** Whether a layer is there and known to be what this blob unpacks to. */
export async function isUnpacked(store: ImageStore, chainId: Digest, blob: Digest): Promise<boolean> {
  if ((await layerInfo(store, chainId)) === undefined) return false;
  return access(join(store.layerFolder(chainId), markOf(blob))).then(
    () => true,
    () => false,
  );
}

/**
 * A layer is there, from another blob: the same archive packed otherwise, or a configuration that names layers which its author never had,
 * to read what stands in them. @throws DigestMismatchError for the latter
 */
async function vouch(
  store: ImageStore,
  chainId: Digest,
  diffId: Digest,
  blob: Digest,
  options: StoreOptions,
): Promise<void> {
  try {
    await checkLayer(openBlob(store, blob), diffId, options.signal);
  } catch (error) {
    if (options.signal?.aborted !== true) await discardDamaged(store, blob, error);
    throw error;
  }
  await writeFile(join(store.layerFolder(chainId), markOf(blob)), '');
}

function openBlob(store: ImageStore, digest: Digest): AsyncIterable<Uint8Array> {
  return createReadStream(store.blobPath(digest), { highWaterMark: 256 * 1024 });
}

/** Where no overlay can be mounted, the layer stays packed until a root is made of it; that it is right is checked now. */
async function checkLayer(blob: AsyncIterable<Uint8Array>, diffId: Digest, signal?: AbortSignal) {
  const digester = new Digester(diffId);
  for await (const chunk of decompress(blob)) {
    signal?.throwIfAborted();
    digester.update(chunk);
  }
  verifyDigest(digester.digest(), diffId, 'the unpacked layer');
  return { bytes: digester.size, archiveSize: digester.size, skippedDevices: 0 };
}

/** A blob that has changed on the disk since it came would be in the way of every later pull. */
async function discardDamaged(store: ImageStore, digest: Digest, error: unknown): Promise<void> {
  const digester = new Digester(digest);
  for await (const chunk of createReadStream(store.blobPath(digest), { highWaterMark: 2 ** 20 }))
    digester.update(chunk);
  if (digester.digest() === digest) return;
  await rm(store.blobPath(digest), { force: true });
  throw new ImageStoreError(`the layer ${digest} in ${store.root} was damaged, and has been removed`, {
    code: 'STORE_DAMAGED',
    hint: 'Pull the image again.',
    cause: error,
  });
}
