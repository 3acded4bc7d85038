/**
 * Pulls an image: manifest, configuration, then the layers side by side, each unpacked as soon as it and the ones below are there. Two
 * pulls of the same layer wait for one another and share the work, in one process or in several.
 */
import { rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { checkLayerCount, parseImageConfig } from './config.js';
import { chainIds, type Digest, Digester, verifyDigest } from './digest.js';
import { explainDisk, ImageFormatError, ImageStoreError } from './errors.js';
import { syncFolder } from './files.js';
import { ensureLayer, isUnpacked } from './layers.js';
import {
  compressionOf,
  type Descriptor,
  formatPlatform,
  HOST_PLATFORM,
  MAX_CONFIG,
  type Manifest,
  type Platform,
  parseManifest,
  selectManifest,
} from './manifest.js';
import { familiarName, formatReference, parseReference, type Reference } from './reference.js';
import { RegistryClient, type RegistryOptions } from './registry/client.js';
import { downloadBlob } from './registry/download.js';
import { readBody } from './registry/http.js';
import type { ImageStore, StoredImage } from './store.js';

export type PullProgress =
  | { readonly kind: 'manifest'; readonly digest: Digest }
  | { readonly kind: 'exists' | 'unpacking' | 'done'; readonly digest: Digest }
  | { readonly kind: 'download'; readonly digest: Digest; readonly bytes: number; readonly size: number };

export interface PullOptions extends RegistryOptions {
  /** Default: this machine's. */
  readonly platform?: Platform;
  readonly onProgress?: (progress: PullProgress) => void;
  /** Layers on their way at the same time. */
  readonly parallel?: number;
}

const PARALLEL = 3;

/** The manifest of one platform, through any index. */
async function findManifest(client: RegistryClient, name: string, platform: Platform) {
  let fetched = await client.manifest();
  let manifest = parseManifest(fetched.bytes, `the manifest of ${name}`, fetched.mediaType || undefined);
  if (manifest.kind === 'index') {
    const chosen = selectManifest(manifest, platform, name);
    fetched = await client.manifest(chosen.digest);
    if (fetched.bytes.length !== chosen.size) {
      throw new ImageFormatError(`the manifest of ${name} has not the size that its index says`, {
        code: 'IMAGE_FORMAT',
      });
    }
    manifest = parseManifest(fetched.bytes, `the manifest of ${name}`, chosen.mediaType || undefined);
    if (manifest.kind === 'index') {
      throw new ImageFormatError(`the index of ${name} leads to another index`, { code: 'IMAGE_FORMAT' });
    }
  }
  return { manifest, fetched };
}

async function fetchConfig(client: RegistryClient, descriptor: Descriptor, name: string): Promise<Buffer> {
  const { response } = await client.blob(descriptor, 0);
  const bytes = await readBody(
    response,
    Math.min(descriptor.size, MAX_CONFIG),
    `the configuration of ${name}`,
  );
  const digester = new Digester(descriptor.digest);
  digester.update(bytes);
  verifyDigest(digester.digest(), descriptor.digest, `the configuration of ${name}`);
  return bytes;
}

/** Brings a layer's blob into the store; whoever has its lock does the work. */
async function fetchLayer(
  store: ImageStore,
  client: RegistryClient,
  layer: Descriptor,
  options: PullOptions,
): Promise<void> {
  const { digest, size } = layer;
  if (await store.hasBlob(digest)) return;
  using _lock = await store.lockItem('blob', digest, options);
  if (await store.hasBlob(digest)) return;
  // One name for all tries, so that the next one goes on where this one stops.
  const partial = store.path('tmp', `${digest.replace(':', '-')}.partial`);
  await downloadBlob(client, layer, partial, {
    onProgress: (bytes) => options.onProgress?.({ kind: 'download', digest, bytes, size }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  await rename(partial, store.blobPath(digest));
  await syncFolder(dirname(store.blobPath(digest)));
}

async function fetchLayers(
  store: ImageStore,
  client: RegistryClient,
  image: Pick<StoredImage, 'manifest' | 'config' | 'chain'>,
  options: PullOptions,
): Promise<void> {
  const { layers } = image.manifest;
  const missing = new Map<Digest, number>();
  for (const { digest, size } of layers) if (!(await store.hasBlob(digest))) missing.set(digest, size);
  const wanted = [...missing.values()].reduce((sum, size) => sum + size, 0);
  const free = await store.freeBytes();
  if (wanted > free) {
    throw new ImageStoreError(`the image needs ${wanted} bytes and ${store.root} has only ${free} left`, {
      code: 'DISK_FULL',
    });
  }
  // The first failure stops the others; all have ended before it is told.
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const inner = { ...options, signal };
  let next = 0;
  const fetched = layers.map(() => deferred());
  const worker = async (): Promise<void> => {
    for (let i = next++; i < layers.length; i = next++) {
      const layer = layers[i];
      if (layer === undefined) return;
      if (!missing.has(layer.digest)) options.onProgress?.({ kind: 'exists', digest: layer.digest });
      await fetchLayer(store, client, layer, inner);
      fetched[i]?.resolve();
    }
  };
  const unpacker = async (): Promise<void> => {
    for (const [i, layer] of layers.entries()) {
      await fetched[i]?.promise;
      signal.throwIfAborted();
      const chainId = image.chain[i];
      if (chainId !== undefined && !(await isUnpacked(store, chainId, layer.digest))) {
        options.onProgress?.({ kind: 'unpacking', digest: layer.digest });
        await ensureLayer(store, image, i, { signal });
      }
      options.onProgress?.({ kind: 'done', digest: layer.digest });
    }
  };
  let failure: { error: unknown } | undefined;
  const guarded = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      failure ??= { error };
      stop.abort();
      for (const one of fetched) one.resolve();
    }
  };
  const workers = Array.from({ length: options.parallel ?? PARALLEL }, () => guarded(worker));
  await Promise.all([...workers, guarded(unpacker)]);
  if (failure !== undefined) throw failure.error;
}

/**
 * Pulls an image by name. Blobs that have come whole stay when it fails, and partial ones too: the next pull goes on from there.
 *
 * @throws ImageNameError RegistryError CredentialError DigestMismatchError ImageFormatError LayerError TarError ImageStoreError
 */
export async function pullImage(
  store: ImageStore,
  text: string,
  options: PullOptions = {},
): Promise<StoredImage> {
  const reference = parseReference(text);
  try {
    return await pullReference(store, reference, options);
  } catch (error) {
    throw explainDisk(error, store.root);
  }
}

async function pullReference(
  store: ImageStore,
  reference: Reference,
  options: PullOptions,
): Promise<StoredImage> {
  const name = familiarName(reference);
  using _lock = await store.share(options);
  using client = new RegistryClient(reference, options);
  const platform = options.platform ?? HOST_PLATFORM;
  const { manifest, fetched } = await findManifest(client, name, platform);
  options.onProgress?.({ kind: 'manifest', digest: fetched.digest });
  for (const layer of manifest.layers) compressionOf(layer.mediaType);
  const config = await imageConfig(store, client, manifest, name);
  if (options.platform !== undefined && config.platform.architecture !== platform.architecture) {
    throw new ImageFormatError(
      `${name} is for ${formatPlatform(config.platform)}, not for ${formatPlatform(platform)}`,
      {
        code: 'PLATFORM_MISSING',
      },
    );
  }
  const image = { manifest, config, chain: chainIds(config.diffIds) };
  await fetchLayers(store, client, image, options);
  await store.putBlob(fetched.digest, fetched.bytes);
  const whole = formatReference(reference);
  await store.tag(whole, fetched.digest);
  return store.load(fetched.digest, whole);
}

async function imageConfig(store: ImageStore, client: RegistryClient, manifest: Manifest, name: string) {
  const { digest } = manifest.config;
  const bytes = (await store.hasBlob(digest))
    ? await store.readBlob(digest, MAX_CONFIG)
    : await fetchConfig(client, manifest.config, name);
  const config = parseImageConfig(bytes, `the configuration of ${name}`);
  checkLayerCount(config, manifest.layers.length, name);
  await store.putBlob(digest, bytes);
  return config;
}

/** A promise and its resolver (Promise.withResolvers is younger than Node 20). */
function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
