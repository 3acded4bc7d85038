/** What images, containers and volumes take of the disk, and cleaning up after all of them: `system df` and `system prune`. */
import { lstatSync, readdirSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import type { EngineContext } from './context.js';
import { pruneNetworks } from './prune.js';
import type { ContainerRecord } from './record.js';
import { removeContainer } from './stop.js';
import { pruneVolumes, volumeStore } from './volumes/volumes.js';
import { current } from './wait.js';

export interface DiskUse {
  readonly kind: 'images' | 'containers' | 'volumes';
  readonly count: number;
  readonly active: number;
  readonly bytes: number;
  /** Bytes that a prune of all of them would free. */
  readonly reclaimable: number;
}

/** Bytes on the disk below a folder, each file once. What cannot be read does not count. */
export function treeBytes(path: string, seen = new Set<string>()): number {
  const stat = statOf(path);
  if (stat === undefined) return 0;
  const key = `${stat.dev}:${stat.ino}`;
  if (seen.has(key)) return 0;
  seen.add(key);
  const own = stat.blocks * 512;
  if (!stat.isDirectory()) return own;
  let names: string[];
  try {
    names = readdirSync(path);
  } catch {
    return own;
  }
  return names.reduce((sum, name) => sum + treeBytes(join(path, name), seen), own);
}

function statOf(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}

/** What a container alone takes: its layer, its log. */
async function containerBytes(context: EngineContext, record: ContainerRecord): Promise<number> {
  const parts = await context.images.parts(record).catch(() => undefined);
  const isCopy = record.options.rootfs === undefined ? parts?.root : undefined;
  const own = parts?.upper ?? isCopy;
  return treeBytes(context.store.folder(record.id)) + (own === undefined ? 0 : treeBytes(own));
}

/** What a container has written to its root, and the whole of it. A plain folder counts as the image. */
export async function rootBytes(
  context: EngineContext,
  record: ContainerRecord,
): Promise<{ readonly written: number; readonly all: number }> {
  const parts = await context.images.parts(record).catch(() => undefined);
  if (parts === undefined) return { written: 0, all: 0 };
  const written = parts.upper === undefined ? 0 : treeBytes(parts.upper);
  const below = parts.upper === undefined ? [parts.root] : parts.lower;
  return { written, all: written + sum(below.map((folder) => treeBytes(folder))) };
}

export async function diskUse(context: EngineContext): Promise<DiskUse[]> {
  const records: ContainerRecord[] = [];
  for (const { id } of context.store.all()) {
    const record = await current(context, id);
    if (record !== undefined) records.push(record);
  }
  return [
    await imageUse(context, records),
    await containerUse(context, records),
    volumeUse(context, records),
  ];
}

async function imageUse(context: EngineContext, records: readonly ContainerRecord[]): Promise<DiskUse> {
  const [{ ImageStore }, { imageSize }] = await Promise.all([
    import('../image/store.js'),
    import('../image/collect.js'),
  ]);
  const store = ImageStore.open(context.paths.root);
  const used = new Set(records.flatMap(({ imageId }) => imageId ?? []));
  const images = new Map<string, number>();
  for (const { manifest, name } of await store.records()) {
    const image = await store.load(manifest, name).catch(() => undefined);
    if (image !== undefined) images.set(image.id, await imageSize(store, image));
  }
  const unused = [...images].filter(([id]) => !used.has(id));
  const bytes = treeBytes(store.path('layers')) + treeBytes(store.path('blobs'));
  return {
    kind: 'images',
    count: images.size,
    active: images.size - unused.length,
    bytes,
    // Layers that images share are counted with each.
    reclaimable: unused.length === images.size ? bytes : Math.min(bytes, sum(unused.map(([, size]) => size))),
  };
}

const sum = (values: readonly number[]) => values.reduce((all, one) => all + one, 0);

async function containerUse(context: EngineContext, records: readonly ContainerRecord[]): Promise<DiskUse> {
  const found = [];
  for (const record of records) found.push({ record, bytes: await containerBytes(context, record) });
  const idle = found.filter(({ record }) => record.state === 'created' || record.state === 'stopped');
  return {
    kind: 'containers',
    count: records.length,
    active: records.length - idle.length,
    bytes: sum(found.map(({ bytes }) => bytes)),
    reclaimable: sum(idle.map(({ bytes }) => bytes)),
  };
}

function volumeUse(context: EngineContext, records: readonly ContainerRecord[]): DiskUse {
  const store = volumeStore(context);
  const used = new Set(records.flatMap(({ volumes }) => volumes.map(({ name }) => name)));
  const found = store.all().map(({ name }) => ({ name, bytes: treeBytes(store.data(name)) }));
  const unused = found.filter(({ name }) => !used.has(name));
  return {
    kind: 'volumes',
    count: found.length,
    active: found.length - unused.length,
    bytes: sum(found.map(({ bytes }) => bytes)),
    reclaimable: sum(unused.map(({ bytes }) => bytes)),
  };
}

/** Removes containers that do not run. @returns their names */
export async function pruneContainers(
  context: EngineContext,
  matches: (record: ContainerRecord) => boolean = () => true,
): Promise<string[]> {
  const removed: string[] = [];
  // Members before their pods.
  const records = context.store.all().sort((a, b) => Number(a.options.pause) - Number(b.options.pause));
  for (const { id } of records) {
    const record = await current(context, id);
    if (record === undefined || (record.state !== 'created' && record.state !== 'stopped')) continue;
    if (!matches(record)) continue;
    try {
      await removeContainer(context, id);
      removed.push(record.name);
    } catch (error) {
      // Started meanwhile, or a pod with members that run.
      context.warn(error instanceof Error ? error.message : String(error));
    }
  }
  return removed;
}

export interface PruneOptions {
  /** All images that no container uses, not leftovers alone. */
  readonly all: boolean;
  /** Volumes without a name as well. */
  readonly volumes: boolean;
}

/** Cleans up everything that is not in use. @returns lines about what went */
export async function pruneSystem(context: EngineContext, options: PruneOptions): Promise<string[]> {
  const [{ ImageStore }, { pruneImages }] = await Promise.all([
    import('../image/store.js'),
    import('../image/collect.js'),
  ]);
  const containers = await pruneContainers(context);
  const networks = await pruneNetworks(context);
  for (const { message } of networks.problems) context.warn(message);
  const volumes = options.volumes ? await pruneVolumes(context) : [];
  const images = await pruneImages(ImageStore.open(context.paths.root), { all: options.all });
  return [
    ...containers.map((name) => `container ${name}`),
    ...networks.removed.map((name) => `network ${name}`),
    ...volumes.map((name) => `volume ${name}`),
    ...images.names.map((name) => `image ${name}`),
  ];
}
