/**
 * Makes images out of layers that are made here: `commit` and `import`. A layer comes as a tar stream; it is packed, put into the store and unpacked
 * like one that was pulled, so that nothing about such an image is special. Configuration: image-spec, config.md.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { parseImageConfig } from './config.js';
import { chainIds, type Digest, Digester, digestOf } from './digest.js';
import { explainDisk } from './errors.js';
import { temporaryName } from './files.js';
import { JsonView } from './json.js';
import { ensureLayer } from './layers.js';
import { type Descriptor, HOST_PLATFORM, MAX_CONFIG, MEDIA, parseManifest } from './manifest.js';
import { formatReference, parseReference } from './reference.js';
import type { ImageStore, StoredImage, StoreOptions } from './store.js';
import { decompress } from './unpack.js';

export interface NewImage extends StoreOptions {
  /** The image that the layer goes on top of. */
  readonly base?: StoredImage | undefined;
  /** Its tar archive, packed or not. */
  readonly layer: AsyncIterable<Uint8Array>;
  readonly name?: string | undefined;
  /** What the history says. */
  readonly createdBy: string;
  readonly comment?: string | undefined;
  readonly author?: string | undefined;
  /** Changes to the `config` member. */
  readonly configure?: (config: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>;
}

/** Passes bytes on and takes their digest. */
function meter(digester: Digester): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      digester.update(chunk);
      done(null, chunk);
    },
  });
}

/** Packs a layer into the store. @returns its descriptor, and the digest of its archive */
async function addLayer(
  store: ImageStore,
  layer: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<{ descriptor: Descriptor; diffId: Digest }> {
  const plain = new Digester();
  const packed = new Digester();
  const file = store.path('tmp', temporaryName('blob'));
  try {
    await pipeline(
      Readable.from(decompress(layer), { objectMode: false }),
      meter(plain),
      createGzip({ level: 6 }),
      meter(packed),
      createWriteStream(file, { flags: 'wx', mode: 0o600 }),
      signal === undefined ? {} : { signal },
    );
    const handle = await open(file, 'r+');
    await handle.sync().finally(() => handle.close());
    const digest = packed.digest();
    const { size } = await stat(file);
    if (!(await store.hasBlob(digest))) await rename(file, store.blobPath(digest));
    return { descriptor: { mediaType: MEDIA.layerGzip, digest, size }, diffId: plain.digest() };
  } finally {
    await rm(file, { force: true });
  }
}

/** The members of an object that others wrote. */
function membersOf(view: JsonView): Record<string, unknown> {
  return Object.fromEntries(view.keys().map((name) => [name, view.member(name).value]));
}

async function baseDocument(store: ImageStore, base: StoredImage | undefined): Promise<JsonView> {
  if (base !== undefined) {
    const bytes = await store.readBlob(base.id, MAX_CONFIG);
    return JsonView.parse(bytes, `the configuration of ${base.name ?? base.id}`);
  }
  return new JsonView({ ...HOST_PLATFORM, config: {}, rootfs: {} }, 'a new image');
}

/** @throws ImageFormatError, LayerError, TarError, ImageStoreError; the image is whole or not there */
export async function makeImage(store: ImageStore, options: NewImage): Promise<StoredImage> {
  const { base, name, signal, configure = (one) => one } = options;
  const reference = name === undefined ? undefined : formatReference(parseReference(name));
  using _lock = await store.share(options);
  try {
    const document = await baseDocument(store, base);
    const { descriptor, diffId } = await addLayer(store, options.layer, signal);
    const created = new Date().toISOString();
    const history = document
      .member('history')
      .elements()
      .map(({ value }) => value);
    const author = options.author === undefined ? {} : { author: options.author };
    const config = Buffer.from(
      JSON.stringify({
        ...membersOf(document),
        created,
        ...author,
        config: configure(membersOf(document.member('config'))),
        rootfs: { type: 'layers', diff_ids: [...(base?.config.diffIds ?? []), diffId] },
        history: [
          ...history,
          {
            created,
            created_by: options.createdBy,
            ...author,
            ...(options.comment === undefined ? {} : { comment: options.comment }),
          },
        ],
      }),
    );
    const configDigest = digestOf(config);
    // Docker's layers are gzip too; only their types are called otherwise.
    const lower = (base?.manifest.layers ?? []).map((one) => ({
      ...one,
      mediaType: ociLayerType(one.mediaType),
    }));
    const manifestBytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA.manifest,
        config: { mediaType: MEDIA.config, digest: configDigest, size: config.length },
        layers: [...lower, descriptor],
      }),
    );
    const parsed = parseImageConfig(config, 'the new configuration');
    const manifest = parseManifest(manifestBytes, 'the new manifest');
    if (manifest.kind === 'index') throw new Error('a manifest is no index');
    const chain = chainIds(parsed.diffIds);
    for (const i of chain.keys()) await ensureLayer(store, { manifest, config: parsed, chain }, i, options);
    await store.putBlob(configDigest, config);
    const manifestDigest = digestOf(manifestBytes);
    await store.putBlob(manifestDigest, manifestBytes);
    // Without a name nothing would keep it; it is found by its id.
    await store.tag(reference ?? `localhost/untitled:${manifestDigest.slice(7, 19)}`, manifestDigest);
    return await store.load(manifestDigest, reference);
  } catch (error) {
    throw explainDisk(error, store.root);
  }
}

function ociLayerType(mediaType: string): string {
  if (mediaType === MEDIA.dockerLayer) return MEDIA.layer;
  return mediaType === MEDIA.dockerLayerGzip ? MEDIA.layerGzip : mediaType;
}

/** A file as a layer's stream. */
export function layerFile(path: string): AsyncIterable<Buffer> {
  return createReadStream(path, { highWaterMark: 256 * 1024 });
}
