/**
 * Saves images: an OCI layout (image-spec, image-layout.md) as a folder or an archive, or an archive that Docker's tools read as well
 * (manifest.json beside the layout, as Docker itself writes it since version 25). Same images, same bytes.
 */
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { type Digest, digestParts } from './digest.js';
import { ImageStoreError } from './errors.js';
import { MEDIA } from './manifest.js';
import { familiarName, parseReference } from './reference.js';
import type { ImageStore, StoredImage, StoreOptions } from './store.js';
import { tarEnd, tarHeader, tarPadding } from './tar-writer.js';

export type SaveFormat = 'oci-archive' | 'docker-archive' | 'oci-dir';

/** Where a layout's parts go. */
interface Sink {
  bytes(name: string, bytes: Buffer): Promise<void>;
  blob(name: string, path: string): Promise<void>;
  end(): Promise<void>;
}

function folderSink(folder: string): Sink {
  return {
    async bytes(name, bytes) {
      await writeFile(join(folder, name), bytes);
    },
    async blob(name, path) {
      await copyFile(path, join(folder, name));
    },
    end: () => Promise.resolve(),
  };
}

function archiveSink(output: Writable): Sink {
  // Errors are taken from the stream itself; without a listener one would end the process.
  output.on('error', () => {});
  const check = (): void => {
    if (output.destroyed)
      throw output.errored ?? new ImageStoreError('the reader has gone away', { code: 'EPIPE' });
  };
  const write = async (bytes: Uint8Array): Promise<void> => {
    check();
    // A reader that has gone away closes without an error or with one: either way nothing drains any more.
    if (!output.write(bytes)) {
      // What is not heard of must not stay to listen: there are as many waits as chunks.
      const waits = new AbortController();
      const { signal } = waits;
      await Promise.race([once(output, 'drain', { signal }), once(output, 'close', { signal })]).catch(
        () => {},
      );
      waits.abort();
    }
    check();
  };
  return {
    async bytes(name, bytes) {
      await write(Buffer.concat([tarHeader({ name, size: bytes.length }), bytes, tarPadding(bytes.length)]));
    },
    async blob(name, path) {
      const { size } = await stat(path);
      await write(tarHeader({ name, size }));
      for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) await write(chunk);
      await write(tarPadding(size));
    },
    async end() {
      await write(tarEnd());
    },
  };
}

function blobName(digest: Digest): string {
  const { algorithm, hex } = digestParts(digest);
  return `blobs/${algorithm}/${hex}`;
}

async function writeLayout(
  store: ImageStore,
  images: readonly StoredImage[],
  sink: Sink,
  isDocker: boolean,
  signal?: AbortSignal,
): Promise<void> {
  const manifests = [];
  const docker = [];
  const written = new Set<Digest>();
  const blob = async (digest: Digest): Promise<void> => {
    signal?.throwIfAborted();
    if (written.has(digest)) return;
    written.add(digest);
    await sink.blob(blobName(digest), store.blobPath(digest));
  };
  await sink.bytes('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
  for (const image of images) {
    const { manifest, manifestDigest, name } = image;
    for (const { digest } of [...manifest.layers, manifest.config]) await blob(digest);
    await blob(manifestDigest);
    const { size } = await stat(store.blobPath(manifestDigest));
    const tag = name === undefined ? undefined : parseReference(name).tag;
    const annotations = {
      ...(name === undefined ? {} : { 'io.containerd.image.name': name }),
      ...(tag === undefined ? {} : { 'org.opencontainers.image.ref.name': tag }),
    };
    manifests.push({ mediaType: manifest.mediaType, digest: manifestDigest, size, annotations });
    docker.push({
      Config: blobName(manifest.config.digest),
      RepoTags: name === undefined || tag === undefined ? [] : [familiarName(parseReference(name))],
      Layers: manifest.layers.map(({ digest }) => blobName(digest)),
    });
  }
  await sink.bytes(
    'index.json',
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests })),
  );
  if (isDocker) await sink.bytes('manifest.json', Buffer.from(JSON.stringify(docker)));
  await sink.end();
}

/**
 * Saves images, found by name or id, to a stream or, for `oci-dir`, to a folder that is new or empty. Does not end the stream.
 *
 * @throws ImageStoreError, and what the stream or the file system throws
 */
export async function saveImages(
  store: ImageStore,
  names: readonly string[],
  target: Writable | string,
  format: SaveFormat,
  options: StoreOptions = {},
): Promise<void> {
  const sink = typeof target === 'string' ? folderSink(target) : archiveSink(target);
  using _lock = await store.share(options);
  const images: StoredImage[] = [];
  for (const name of names) images.push(await store.find(name));
  for (const image of images) {
    for (const { digest } of image.manifest.layers) {
      if (await store.hasBlob(digest)) continue;
      throw new ImageStoreError(`the store lacks the layer ${digest} of ${image.name ?? image.id}`, {
        code: 'STORE_DAMAGED',
        hint: 'Pull the image again.',
      });
    }
  }
  if (typeof target === 'string') await makeLayoutFolder(target);
  await writeLayout(store, images, sink, format === 'docker-archive', options.signal);
}

async function makeLayoutFolder(target: string): Promise<void> {
  const existing = await readdir(target).catch(() => []);
  if (existing.length > 0) {
    throw new ImageStoreError(`${target} is not empty`, {
      code: 'TARGET_NOT_EMPTY',
      hint: 'Name a new folder.',
    });
  }
  for (const algorithm of ['sha256', 'sha512'])
    await mkdir(join(target, 'blobs', algorithm), { recursive: true });
}
