/**
 * What leaves the store: names, images that nobody uses (least recently used first), and everything that no image and no container's
 * root refers to. References are counted by looking, under the store's exclusive lock: there is no count that could be wrong.
 */
import { lstat, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from './digest.js';
import { ImageStoreError } from './errors.js';
import { removeTree, temporaryName } from './files.js';
import { JsonView } from './json.js';
import { layerInfo } from './layers.js';
import { familiarName, parseReference } from './reference.js';
import type { ImageRecord, ImageStore, StoredImage, StoreOptions } from './store.js';

/** Who uses a layer or an image: a container's root. */
export interface RootfsUse {
  readonly id: string;
  /** The image's manifest and its chain. */
  readonly manifest: string;
  readonly chain: readonly string[];
}

export interface Removed {
  /** Names that are gone. */
  readonly names: string[];
  /** Bytes on disk of blobs, layers and leftovers. */
  bytes: number;
  blobs: number;
  layers: number;
}

/** The containers' roots in the store. */
export async function rootfsUses(store: ImageStore): Promise<RootfsUse[]> {
  const uses: RootfsUse[] = [];
  for (const id of await readdir(store.path('rootfs'))) {
    const path = store.path('rootfs', id, 'rootfs.json');
    try {
      const view = JsonView.parse(await readFile(path), path);
      uses.push({ id, manifest: view.member('manifest').string(), chain: view.member('chain').strings() });
    } catch {
      // Being made or removed, or not ours.
    }
  }
  return uses;
}

/** Bytes that a tree takes. */
async function treeSize(path: string): Promise<number> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats === undefined) return 0;
  if (!stats.isDirectory()) return stats.size;
  let sum = 0;
  // What cannot be read does not count; this is for people.
  for (const name of await readdir(path).catch(() => [])) sum += await treeSize(join(path, name));
  return sum;
}

/** Removes a folder so that it is never seen half removed. */
async function removeFolder(store: ImageStore, path: string): Promise<void> {
  const aside = store.path('tmp', temporaryName('gone'));
  await rename(path, aside);
  await removeTree(aside);
}

/** Removes what nothing refers to. The caller has the exclusive lock. */
async function sweep(store: ImageStore, removed: Removed): Promise<void> {
  const blobs = new Set<string>();
  const layers = new Set<string>();
  for (const record of await store.records()) {
    blobs.add(record.manifest.replace(':', '/'));
    const image = await store.load(record.manifest).catch(() => undefined);
    if (image === undefined) continue;
    for (const { digest } of [image.manifest.config, ...image.manifest.layers])
      blobs.add(digest.replace(':', '/'));
    for (const chainId of image.chain) layers.add(chainId.replace(':', '-'));
  }
  // A container lives on its layers, whether or not its image still has a name.
  for (const use of await rootfsUses(store))
    for (const chainId of use.chain) layers.add(chainId.replace(':', '-'));
  for (const name of await readdir(store.path('layers'))) {
    if (layers.has(name)) continue;
    const chainId = name.replace('-', ':') as Digest;
    removed.bytes += (await layerInfo(store, chainId).catch(() => undefined))?.bytes ?? 0;
    removed.layers++;
    await removeFolder(store, store.path('layers', name));
  }
  for (const algorithm of ['sha256', 'sha512']) {
    for (const hex of await readdir(store.path('blobs', algorithm))) {
      if (blobs.has(`${algorithm}/${hex}`)) continue;
      const path = store.path('blobs', algorithm, hex);
      removed.bytes += await treeSize(path);
      removed.blobs++;
      await rm(path, { force: true });
    }
  }
}

/** Removes unfinished work: with the exclusive lock nobody is working. */
async function sweepScratch(store: ImageStore, removed: Removed): Promise<void> {
  for (const name of await readdir(store.path('tmp'))) {
    const path = store.path('tmp', name);
    if (!name.startsWith('layer-')) removed.bytes += await treeSize(path);
    await removeTree(path);
  }
  for (const name of await readdir(store.path('locks'))) {
    if (name !== 'store') await rm(store.path('locks', name), { force: true });
  }
}

/**
 * Takes a name away, or with an id all names of the image; when it was the last one, the image and what only it used go too.
 *
 * @param force even if containers use it: their layers stay until they are gone
 * @throws ImageStoreError IMAGE_NOT_FOUND, IMAGE_IN_USE
 */
export async function removeImage(
  store: ImageStore,
  text: string,
  options: StoreOptions & { readonly force?: boolean } = {},
): Promise<Removed> {
  using _lock = await store.exclude(options);
  const image = await store.find(text);
  const records = await store.records();
  const all = records.filter(({ manifest }) => manifest === image.manifestDigest);
  const isId = [image.id, image.manifestDigest].some((digest) =>
    digest.replace(/^sha\d+:/, '').startsWith(text.replace(/^sha\d+:/, '')),
  );
  if (isId && all.length > 1 && options.force !== true) {
    throw new ImageStoreError(`${text} has ${all.length} names`, {
      code: 'IMAGE_HAS_NAMES',
      hint: 'Remove it by name, or use --force.',
    });
  }
  const going = isId ? all : all.filter(({ name }) => name === image.name);
  if (going.length === all.length && options.force !== true) refuseUsed(text, image, await rootfsUses(store));
  const removed: Removed = { names: [], bytes: 0, blobs: 0, layers: 0 };
  for (const { name } of going) {
    await store.removeRecord(name);
    removed.names.push(familiarName(parseReference(name)));
  }
  await sweep(store, removed);
  return removed;
}

function refuseUsed(text: string, image: StoredImage, uses: readonly RootfsUse[]): void {
  const users = uses.filter(({ manifest }) => manifest === image.manifestDigest).map(({ id }) => id);
  if (users.length === 0) return;
  throw new ImageStoreError(
    `the image ${text} is in use by ${users.slice(0, 3).join(', ')}${users.length > 3 ? ', …' : ''}`,
    {
      code: 'IMAGE_IN_USE',
      hint: 'Remove these containers first, or use --force.',
    },
  );
}

export interface PruneOptions extends StoreOptions {
  /** Also images that no container uses. */
  readonly all?: boolean;
  /** Removes the least recently used of those only until the store is this small, in bytes. */
  readonly keepBytes?: number;
  /** Spares images that were used within these milliseconds. */
  readonly unusedForMs?: number;
}

/** Bytes of an image's blobs and layers. */
export async function imageSize(store: ImageStore, image: StoredImage): Promise<number> {
  let sum = 0;
  for (const chainId of image.chain) sum += (await layerInfo(store, chainId))?.bytes ?? 0;
  return sum;
}

/** The size of the whole store: each layer and each blob once. */
async function storeSize(store: ImageStore): Promise<number> {
  let sum = await treeSize(store.path('blobs'));
  for (const name of await readdir(store.path('layers'))) {
    sum += (await layerInfo(store, name.replace('-', ':') as Digest).catch(() => undefined))?.bytes ?? 0;
  }
  return sum;
}

/** Cleans up: leftovers and what nothing refers to, and on request images, least recently used first. @throws ImageStoreError */
export async function pruneImages(store: ImageStore, options: PruneOptions = {}): Promise<Removed> {
  using _lock = await store.exclude(options);
  const removed: Removed = { names: [], bytes: 0, blobs: 0, layers: 0 };
  await sweepScratch(store, removed);
  await sweep(store, removed);
  if (options.all !== true && options.keepBytes === undefined) return removed;
  const used = new Set((await rootfsUses(store)).map(({ manifest }) => manifest));
  const since = Date.now() - (options.unusedForMs ?? 0);
  const candidates = (await store.records()).filter(
    ({ manifest, usedAt }) => !used.has(manifest) && usedAt <= since,
  );
  for (const record of byLastUse(candidates)) {
    if (options.keepBytes !== undefined && (await storeSize(store)) <= options.keepBytes) break;
    await store.removeRecord(record.name);
    removed.names.push(familiarName(parseReference(record.name)));
    await sweep(store, removed);
  }
  return removed;
}

function byLastUse(records: readonly ImageRecord[]): ImageRecord[] {
  return [...records].sort((a, b) => a.usedAt - b.usedAt);
}
