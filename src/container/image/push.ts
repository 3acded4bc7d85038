/**
 * Pushes an image (distribution-spec 1.1, "Pushing"): the layers and the configuration that the registry does not have, each in one piece, then
 * the manifest. Blobs go out as they are in the store, with the digests that they were checked against on their way in.
 */
import { createReadStream } from 'node:fs';
import { ImageStoreError, RegistryError } from './errors.js';
import { type Descriptor, MAX_MANIFEST } from './manifest.js';
import { familiarName, parseReference, type Reference } from './reference.js';
import { RegistryClient, type RegistryOptions } from './registry/client.js';
import type { ImageStore, StoredImage } from './store.js';

export type PushProgress =
  | { readonly kind: 'exists' | 'done'; readonly digest: string }
  | { readonly kind: 'upload'; readonly digest: string; readonly bytes: number; readonly size: number };

export interface PushOptions extends RegistryOptions {
  readonly onProgress?: (progress: PushProgress) => void;
}

/** Blobs on their way at the same time. */
const PARALLEL = 3;

/**
 * @param name of the image in the store, or its id
 * @param destination where it goes; default: its name
 * @returns the digest of its manifest
 * @throws ImageStoreError RegistryError CredentialError
 */
export async function pushImage(
  store: ImageStore,
  name: string,
  destination: string | undefined,
  options: PushOptions = {},
): Promise<string> {
  using _lock = await store.share(options);
  const image = await store.find(name);
  const target = targetOf(image, destination);
  using client = new RegistryClient(target, { ...options, access: 'push' });
  const { manifest, manifestDigest } = image;
  const blobs = [...new Map([...manifest.layers, manifest.config].map((one) => [one.digest, one])).values()];
  for (const { digest } of blobs)
    if (!(await store.hasBlob(digest)))
      throw new ImageStoreError(`the store lacks the layer ${digest} of ${name}`, {
        code: 'STORE_DAMAGED',
        hint: 'Pull the image again.',
      });
  const waiting = [...blobs];
  const worker = async (): Promise<void> => {
    for (let blob = waiting.shift(); blob !== undefined; blob = waiting.shift())
      await pushBlob(store, client, target, blob, options);
  };
  try {
    await Promise.all(Array.from({ length: PARALLEL }, worker));
  } finally {
    // After a failure the others stop at their next blob.
    waiting.length = 0;
  }
  const bytes = await store.readBlob(manifestDigest, MAX_MANIFEST);
  await client.retry(async () => {
    const response = await client.request({
      path: `/v2/${target.repository}/manifests/${target.tag ?? target.digest}`,
      method: 'PUT',
      headers: { 'content-type': manifest.mediaType },
      body: bytes,
      allowed: [200, 201, 202],
    });
    response.body.destroy();
  });
  return manifestDigest;
}

/** @throws ImageStoreError for an image without a name, and for a digest that is not its own */
function targetOf(image: StoredImage, destination: string | undefined): Reference {
  const name = destination ?? image.name;
  if (name === undefined)
    throw new ImageStoreError(`the image ${image.id} has no name that says where it goes`, {
      code: 'PUSH_TARGET',
      hint: 'name the registry: tvmm image push IMAGE registry.example/team/app:1',
    });
  const target = parseReference(name);
  if (target.digest !== undefined && target.digest !== image.manifestDigest)
    throw new ImageStoreError(`${familiarName(target)} is another image than ${image.manifestDigest}`, {
      code: 'PUSH_TARGET',
      hint: 'push to a tag',
    });
  return target;
}

async function pushBlob(
  store: ImageStore,
  client: RegistryClient,
  { repository }: Reference,
  { digest, size }: Descriptor,
  { onProgress = () => {} }: PushOptions,
): Promise<void> {
  await client.retry(async () => {
    const head = await client.request({
      path: `/v2/${repository}/blobs/${digest}`,
      method: 'HEAD',
      allowed: [200, 404],
    });
    head.body.destroy();
    if (head.status === 200) {
      onProgress({ kind: 'exists', digest });
      return;
    }
    const begun = await client.request({
      path: `/v2/${repository}/blobs/uploads/`,
      method: 'POST',
      body: '',
      allowed: [202],
    });
    begun.body.destroy();
    const { location } = begun.headers;
    if (location === undefined || !URL.canParse(location, begun.url.href))
      throw new RegistryError(`${begun.url.host} does not say where the layer goes`, {
        code: 'UPLOAD_INVALID',
      });
    const target = new URL(location, begun.url);
    target.searchParams.append('digest', digest);
    const body = {
      size,
      open: () => {
        let bytes = 0;
        const stream = createReadStream(store.blobPath(digest));
        stream.on('data', (chunk) => {
          bytes += chunk.length;
          onProgress({ kind: 'upload', digest, bytes, size });
        });
        return stream;
      },
    };
    const put = await client.request({
      path: target.href,
      method: 'PUT',
      headers: { 'content-type': 'application/octet-stream' },
      body,
      allowed: [200, 201, 202, 204],
    });
    put.body.destroy();
    onProgress({ kind: 'done', digest });
  });
}
