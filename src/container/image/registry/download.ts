/**
 * Brings a blob into a file, checking as it comes: never a byte more than promised, the digest at the end. A broken transfer goes on where
 * it stopped, in this run or the next, since what has come stays in the partial file.
 */
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import { Digester, verifyDigest } from '../digest.js';
import { DigestMismatchError, RegistryError } from '../errors.js';
import type { Descriptor } from '../manifest.js';
import { isPassing, type RegistryClient } from './client.js';

const MAX_TRIES = 6;
/** Bytes between two breaks that let the count of tries start anew. */
const PROGRESS = 2 ** 20;

export interface DownloadOptions {
  /** Called with the bytes that are there, as they come. */
  readonly onProgress?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

/** Hashes what an earlier try has left. */
async function resume(path: string, descriptor: Descriptor): Promise<Digester> {
  const digester = new Digester(descriptor.digest);
  const size = await stat(path).then(
    (stats) => stats.size,
    () => 0,
  );
  if (size === 0) return digester;
  if (size > descriptor.size) {
    await rm(path);
    return digester;
  }
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) digester.update(chunk);
  return digester;
}

/** Writes the file's rest. Returns when the promised size is there; throws what broke. */
async function transfer(
  client: RegistryClient,
  descriptor: Descriptor,
  file: FileHandle,
  start: Digester,
  options: DownloadOptions,
): Promise<Digester> {
  const { response, offset } = await client.blob(descriptor, start.size);
  let digester = start;
  if (offset !== start.size) {
    digester = new Digester(descriptor.digest);
    await file.truncate(0);
  }
  try {
    for await (const chunk of response.body) {
      const piece: Buffer = chunk;
      options.signal?.throwIfAborted();
      if (digester.size + piece.length > descriptor.size) {
        throw new RegistryError(
          `the blob ${descriptor.digest} is longer than the ${descriptor.size} bytes it was promised with`,
          {
            code: 'BLOB_TOO_LONG',
          },
        );
      }
      let written = 0;
      while (written < piece.length) {
        const position = digester.size + written;
        written += (await file.write(piece, written, piece.length - written, position)).bytesWritten;
      }
      digester.update(piece);
      options.onProgress?.(digester.size);
    }
  } catch (cause) {
    response.body.destroy();
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    const isOurs =
      cause instanceof RegistryError ||
      options.signal?.aborted === true ||
      ['ENOSPC', 'EDQUOT', 'EIO', 'EFBIG'].includes(code);
    if (isOurs) throw cause;
    throw new RegistryError(`the transfer of ${descriptor.digest} broke off`, { code: 'ECONNRESET', cause });
  }
  if (digester.size < descriptor.size) {
    throw new RegistryError(
      `the blob ${descriptor.digest} ends after ${digester.size} of ${descriptor.size} bytes`,
      {
        code: 'BLOB_SHORT',
      },
    );
  }
  return digester;
}

/**
 * Downloads to `path`, which others must not touch meanwhile (the caller has the lock), and syncs it. An empty blob makes an empty file.
 *
 * @throws RegistryError DigestMismatchError CredentialError, and node:fs errors such as ENOSPC. The partial file stays unless it is wrong.
 */
export async function downloadBlob(
  client: RegistryClient,
  descriptor: Descriptor,
  path: string,
  options: DownloadOptions = {},
): Promise<void> {
  let mismatches = 0;
  let digester = await resume(path, descriptor);
  const file = await open(path, 'a').then(async (handle) => {
    // Positions count, so not in append mode.
    await handle.close();
    return open(path, 'r+');
  });
  try {
    for (let tries = 1; ; tries++) {
      const before = digester.size;
      try {
        if (digester.size < descriptor.size)
          digester = await transfer(client, descriptor, file, digester, options);
        verifyDigest(digester.digest(), descriptor.digest, `the blob of ${descriptor.size} bytes`);
        await file.sync();
        return;
      } catch (error) {
        const isMismatch = error instanceof DigestMismatchError;
        // The part from an earlier run may have been damaged: one more try from the start.
        if (isMismatch) {
          await file.truncate(0);
          mismatches++;
          if (mismatches > 1 || before === 0) throw error;
        } else if (tries >= MAX_TRIES || !isPassing(error)) {
          if (error instanceof RegistryError && error.code === 'BLOB_TOO_LONG') await file.truncate(0);
          throw error;
        } else {
          await client.pause(tries, error);
        }
        digester = isMismatch ? new Digester(descriptor.digest) : await resume(path, descriptor);
        // A slow line may break many times, as long as it brings something each time.
        if (digester.size - before >= PROGRESS) tries = 0;
      }
    }
  } finally {
    await file.close();
  }
}
