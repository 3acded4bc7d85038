/**
 * Loads images from files: OCI layouts (image-spec, image-layout.md) in a folder or an archive, and Docker's archives with their
 * manifest.json. What has no manifest gets one; everything else keeps its digests. Nothing is believed that does not have its digest.
 */
import { createReadStream } from 'node:fs';
import { copyFile, link, open, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  type ArchiveSource,
  archiveSource,
  folderSource,
  type Part,
  partStream,
  readPart,
} from './archive.js';
import { checkLayerCount, parseImageConfig } from './config.js';
import { chainIds, type Digest, Digester, digestOf, digestParts, verifyDigest } from './digest.js';
import { explainDisk, ImageFormatError } from './errors.js';
import { syncFolder, temporaryName } from './files.js';
import { JsonView } from './json.js';
import { ensureLayer } from './layers.js';
import {
  compressionOf,
  type Descriptor,
  HOST_PLATFORM,
  MAX_CONFIG,
  MAX_LAYERS,
  MAX_MANIFEST,
  type Manifest,
  MEDIA,
  type Platform,
  parseDescriptor,
  parseManifest,
  selectManifest,
} from './manifest.js';
import { formatReference, parseReference } from './reference.js';
import type { ImageStore, StoredImage, StoreOptions } from './store.js';
import { sniffCompression } from './unpack.js';

export interface LoadOptions extends StoreOptions {
  readonly platform?: Platform;
  /** Name for the only image of the input. */
  readonly name?: string;
}

const RESERVE = 64 * 2 ** 20;

/** Moves or copies a part into the store, checked. @throws DigestMismatchError */
async function importBlob(
  store: ImageStore,
  part: Part,
  digest: Digest,
  options: LoadOptions,
): Promise<void> {
  if (await store.hasBlob(digest)) return;
  using _lock = await store.lockItem('blob', digest, options);
  if (await store.hasBlob(digest)) return;
  let { path } = part;
  const isOurs = part.digest !== undefined;
  if (!isOurs) {
    path = store.path('tmp', temporaryName('blob'));
    await copyFile(part.path, path);
  }
  try {
    let actual = part.digest;
    if (actual === undefined || digestParts(digest).algorithm !== 'sha256') {
      const digester = new Digester(digest);
      for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) digester.update(chunk);
      actual = digester.digest();
    }
    verifyDigest(actual, digest, 'a blob of the layout');
    const handle = await open(path, 'r+');
    await handle.sync().finally(() => handle.close());
    // An archive's part stays where it is too: another image of the archive may need it.
    await (isOurs ? link : rename)(path, store.blobPath(digest));
    await syncFolder(store.path('blobs', digestParts(digest).algorithm));
  } catch (error) {
    if (!isOurs) await rm(path, { force: true });
    throw error;
  }
}

function blobOf(source: ArchiveSource, digest: Digest): Part {
  const { algorithm, hex } = digestParts(digest);
  const part = source.part(`blobs/${algorithm}/${hex}`);
  if (part !== undefined) return part;
  throw new ImageFormatError(`${source.what} lacks the blob ${digest}`, { code: 'IMAGE_FORMAT' });
}

function documentOf(source: ArchiveSource, descriptor: Descriptor, limit: number): Buffer {
  const name = `blobs/${descriptor.digest.replace(':', '/')}`;
  const bytes = readPart(source, name, limit);
  if (bytes === undefined)
    throw new ImageFormatError(`${source.what} lacks the blob ${descriptor.digest}`, {
      code: 'IMAGE_FORMAT',
    });
  const digester = new Digester(descriptor.digest);
  digester.update(bytes);
  verifyDigest(digester.digest(), descriptor.digest, `${name} in ${source.what}`);
  return bytes;
}

/** Puts an image's parts into the store and unpacks its layers. */
async function importImage(
  store: ImageStore,
  source: ArchiveSource,
  image: {
    manifestBytes: Buffer;
    manifest: Manifest;
    configBytes: Buffer;
    layer: (index: number, digest: Digest) => Part;
  },
  names: readonly string[],
  options: LoadOptions,
): Promise<StoredImage> {
  const { manifest, configBytes, manifestBytes } = image;
  const config = parseImageConfig(configBytes, `the configuration in ${source.what}`);
  checkLayerCount(config, manifest.layers.length, source.what);
  const chain = chainIds(config.diffIds);
  for (const [i, layer] of manifest.layers.entries()) {
    compressionOf(layer.mediaType);
    await importBlob(store, image.layer(i, layer.digest), layer.digest, options);
    await ensureLayer(store, { manifest, config, chain }, i, options);
  }
  await store.putBlob(manifest.config.digest, configBytes);
  const manifestDigest = digestOf(manifestBytes);
  await store.putBlob(manifestDigest, manifestBytes);
  for (const name of names) await store.tag(name, manifestDigest);
  return store.load(manifestDigest, names[0]);
}

/** The whole name for what a layout calls an image: often only a tag. */
function nameFor(
  written: string | undefined,
  source: ArchiveSource,
  options: LoadOptions,
  count: number,
): string {
  if (count === 1 && options.name !== undefined) return formatReference(parseReference(options.name));
  if (written !== undefined && /[/:]/.test(written)) return formatReference(parseReference(written));
  const stem = basename(source.what)
    .toLowerCase()
    .replace(/(?:\.tar)?(?:\.gz|\.zst|\.tar|\.tgz)$/, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
  const tag = written !== undefined && /^[\w][\w.-]{0,127}$/.test(written) ? `:${written}` : '';
  return formatReference(parseReference(`localhost/${stem === '' ? 'loaded' : stem}${tag}`));
}

async function loadLayout(
  store: ImageStore,
  source: ArchiveSource,
  options: LoadOptions,
): Promise<StoredImage[]> {
  const view = JsonView.parse(readPart(source, 'oci-layout', 4096) ?? '', `oci-layout in ${source.what}`);
  const version = view.member('imageLayoutVersion');
  if (version.value !== '1.0.0') version.fail('it must be "1.0.0"');
  const indexText = readPart(source, 'index.json', MAX_MANIFEST);
  if (indexText === undefined)
    throw new ImageFormatError(`${source.what} has no index.json`, { code: 'IMAGE_FORMAT' });
  const index = JsonView.parse(indexText, `index.json in ${source.what}`);
  const entries = index
    .member('manifests')
    .elements()
    .map((one) => parseDescriptor(one, MAX_MANIFEST));
  if (entries.length === 0)
    throw new ImageFormatError(`${source.what} holds no image`, { code: 'IMAGE_FORMAT' });
  const platform = options.platform ?? HOST_PLATFORM;
  // The same image may stand there once for each of its names.
  const images: StoredImage[] = [];
  for (const entry of entries) {
    let manifestBytes = documentOf(source, entry, MAX_MANIFEST);
    let manifest = parseManifest(manifestBytes, `a manifest in ${source.what}`, entry.mediaType || undefined);
    for (let depth = 0; manifest.kind === 'index'; depth++) {
      if (depth === 3)
        throw new ImageFormatError(`the indexes in ${source.what} are nested too deep`, {
          code: 'IMAGE_FORMAT',
        });
      const chosen = selectManifest(manifest, platform, source.what);
      manifestBytes = documentOf(source, chosen, MAX_MANIFEST);
      manifest = parseManifest(manifestBytes, `a manifest in ${source.what}`, chosen.mediaType || undefined);
    }
    const written =
      entry.annotations?.['io.containerd.image.name'] ??
      entry.annotations?.['org.opencontainers.image.ref.name'];
    const configBytes = documentOf(source, manifest.config, MAX_CONFIG);
    const layer = (_: number, digest: Digest): Part => blobOf(source, digest);
    const name = nameFor(written, source, options, entries.length);
    images.push(
      await importImage(store, source, { manifestBytes, manifest, configBytes, layer }, [name], options),
    );
  }
  return images;
}

/** A part's digest: known where it has passed through. */
async function partDigest(part: Part): Promise<Digest> {
  if (part.digest !== undefined) return part.digest;
  const digester = new Digester();
  for await (const chunk of partStream(part)) digester.update(chunk);
  return digester.digest();
}

async function firstBytes(part: Part): Promise<Buffer> {
  for await (const chunk of partStream(part)) return chunk;
  return Buffer.alloc(0);
}

async function loadDocker(
  store: ImageStore,
  source: ArchiveSource,
  text: Buffer,
  options: LoadOptions,
): Promise<StoredImage[]> {
  const document = JsonView.parse(text, `manifest.json in ${source.what}`);
  if (!Array.isArray(document.value)) return [await loadPlainFolder(store, source, text, options)];
  const list = document.elements();
  if (list.length === 0)
    throw new ImageFormatError(`${source.what} holds no image`, { code: 'IMAGE_FORMAT' });
  const images: StoredImage[] = [];
  for (const view of list) {
    const configView = view.member('Config');
    const configBytes =
      readPart(source, configView.string(), MAX_CONFIG) ?? configView.fail('the archive has no such file');
    const layerViews = view.member('Layers').elements(MAX_LAYERS);
    const parts = layerViews.map(
      (one) => source.part(one.string()) ?? one.fail('the archive has no such file'),
    );
    const layers: Descriptor[] = [];
    for (const part of parts) {
      const compression = sniffCompression(await firstBytes(part));
      const mediaType = { none: MEDIA.layer, gzip: MEDIA.layerGzip, zstd: MEDIA.layerZstd }[compression];
      layers.push({ mediaType, digest: await partDigest(part), size: part.size });
    }
    const config: Descriptor = {
      mediaType: MEDIA.config,
      digest: digestOf(configBytes),
      size: configBytes.length,
    };
    const manifest: Manifest = { kind: 'manifest', mediaType: MEDIA.manifest, config, layers };
    const manifestBytes = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.manifest, config, layers }),
    );
    const tags = view.member('RepoTags').strings();
    const names = tags.map((tag) => formatReference(parseReference(tag)));
    if (names.length === 0 || options.name !== undefined)
      names.unshift(nameFor(undefined, source, options, list.length));
    const layer = (i: number): Part => parts[i] ?? view.fail('a layer is missing');
    images.push(
      await importImage(store, source, { manifestBytes, manifest, configBytes, layer }, names, options),
    );
  }
  return images;
}

/** What containers' tools call `dir` and `docker-dir` (containers-transports(5)): a manifest beside blobs that are named by their digits. */
async function loadPlainFolder(
  store: ImageStore,
  source: ArchiveSource,
  manifestBytes: Buffer,
  options: LoadOptions,
): Promise<StoredImage> {
  const manifest = parseManifest(manifestBytes, `manifest.json in ${source.what}`);
  if (manifest.kind === 'index')
    throw new ImageFormatError(`${source.what} holds an image of several platforms, in a format for one`, {
      code: 'IMAGE_FORMAT',
      hint: 'skopeo copy --all writes it as oci:FOLDER, too, which can be loaded.',
    });
  const layout: ArchiveSource = {
    what: source.what,
    part: (name) => source.part(name.slice(name.lastIndexOf('/') + 1)),
  };
  const configBytes = documentOf(layout, manifest.config, MAX_CONFIG);
  const layer = (_: number, digest: Digest): Part => blobOf(layout, digest);
  const names = [nameFor(undefined, source, options, 1)];
  return await importImage(store, source, { manifestBytes, manifest, configBytes, layer }, names, options);
}

async function loadFrom(
  store: ImageStore,
  source: ArchiveSource,
  options: LoadOptions,
): Promise<StoredImage[]> {
  if (source.part('oci-layout') !== undefined && source.part('index.json') !== undefined) {
    // Docker's newer archives are both; their manifest.json knows the names.
    const both = readPart(source, 'manifest.json', MAX_MANIFEST);
    const images = await loadLayout(store, source, options);
    return both === undefined ? images : nameByDocker(store, images, both, source, options);
  }
  const text = readPart(source, 'manifest.json', MAX_MANIFEST);
  if (text !== undefined) return loadDocker(store, source, text, options);
  throw new ImageFormatError(`${source.what} is neither an OCI layout nor a docker-archive`, {
    code: 'IMAGE_FORMAT',
    hint: 'It has neither oci-layout and index.json nor manifest.json.',
  });
}

/** Gives images of a layout the names of the manifest.json beside it. */
async function nameByDocker(
  store: ImageStore,
  images: readonly StoredImage[],
  text: Buffer,
  source: ArchiveSource,
  options: LoadOptions,
): Promise<StoredImage[]> {
  if (options.name !== undefined) return [...images];
  const named: StoredImage[] = [];
  const list = JsonView.parse(text, `manifest.json in ${source.what}`).elements();
  for (const image of images) {
    const { hex } = digestParts(image.id);
    const own = list.find((view) => (view.member('Config').optionalString() ?? '').includes(hex));
    const tags = own?.member('RepoTags').strings() ?? [];
    const names = tags.map((tag) => formatReference(parseReference(tag)));
    if (names[0] === undefined) {
      named.push(image);
      continue;
    }
    for (const name of names) await store.tag(name, image.manifestDigest);
    if (image.name !== undefined && !names.includes(image.name)) await store.removeRecord(image.name);
    named.push({ ...image, name: names[0] });
  }
  return named;
}

/**
 * Loads all images of a folder or an archive.
 *
 * @param input a path, or a stream with the name to be used in messages
 * @throws ImageFormatError ImageNameError DigestMismatchError LayerError TarError ImageStoreError
 */
export async function loadImages(
  store: ImageStore,
  input: string | { readonly stream: AsyncIterable<Uint8Array>; readonly what: string },
  options: LoadOptions = {},
): Promise<StoredImage[]> {
  if (options.name !== undefined) parseReference(options.name);
  using _lock = await store.share(options);
  if (typeof input === 'string') {
    const stats = await stat(input).catch((cause: unknown) => {
      const why = cause instanceof Error && 'code' in cause ? cause.code : cause;
      throw new ImageFormatError(`${input} cannot be read: ${String(why)}`, { code: 'IMAGE_FILE', cause });
    });
    if (stats.isDirectory()) return loadFrom(store, folderSource(input), options);
  }
  const stream =
    typeof input === 'string' ? createReadStream(input, { highWaterMark: 256 * 1024 }) : input.stream;
  const what = typeof input === 'string' ? input : input.what;
  const scratch = join(store.path('tmp'), temporaryName('load'));
  try {
    const maxBytes = Math.max(0, (await store.freeBytes()) - RESERVE);
    const source = await archiveSource(stream, what, scratch, {
      maxBytes,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    return await loadFrom(store, source, options);
  } catch (error) {
    throw explainDisk(error, store.root);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
