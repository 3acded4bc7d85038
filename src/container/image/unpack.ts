/**
 * A layer's way from its blob to its folder, streaming: decompress, hash, read the archive, write the files. What the compression is,
 * the first bytes say; that the content is right, the diff id says (OCI image-spec, config.md), checked when the last byte has come.
 */
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';
import { type Digest, Digester, verifyDigest } from './digest.js';
import { LayerError, NO_ROOM } from './errors.js';
import { type ExtractOptions, type ExtractReport, LayerExtractor } from './extract.js';
import type { Compression } from './manifest.js';
import { TarReader } from './tar-reader.js';

/** Large pieces: each costs a turn of the event loop and a call of the hash. */
const PIECE = 256 * 1024;
/** Between turns of the event loop, for decoders that work in place. */
const TURN = 4 * 2 ** 20;

/** What the first bytes of a file say: RFC 1952 2.3.1, RFC 8878 3.1.1 and 3.1.2 (skippable frames come first in some). */
export function sniffCompression(start: Uint8Array): Compression {
  const [a, b, c, d] = start;
  if (a === 0x1f && b === 0x8b) return 'gzip';
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return 'zstd';
  if (a !== undefined && (a & 0xf0) === 0x50 && b === 0x2a && c === 0x4d && d === 0x18) return 'zstd';
  return 'none';
}

async function* withFirst(first: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield first;
  for (;;) {
    const next = await rest.next();
    if (next.done === true) return;
    yield next.value;
  }
}

async function* gunzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const input = Readable.from(source, { objectMode: false });
  const decoder = createGunzip({ chunkSize: PIECE });
  input.on('error', (error) => decoder.destroy(error));
  input.pipe(decoder);
  try {
    for await (const chunk of decoder) yield chunk;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && String(cause.code).startsWith('Z_')) {
      throw new LayerError(`the layer's gzip data is corrupt: ${cause.message}`, {
        code: 'LAYER_GZIP',
        cause,
      });
    }
    throw cause;
  } finally {
    input.destroy();
    decoder.destroy();
    if (!decoder.closed) await once(decoder, 'close');
  }
}

async function* unzstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const { ZstdDecoder } = await import('../../sys/zstd.js');
  using decoder = new ZstdDecoder();
  let sinceTurn = 0;
  for await (const chunk of source) {
    for (const piece of decoder.write(chunk)) {
      yield piece;
      sinceTurn += piece.length;
      if (sinceTurn < TURN) continue;
      sinceTurn = 0;
      await setImmediate();
    }
  }
  decoder.end();
}

/** The uncompressed bytes of a blob. @throws LayerError ZstdError */
export async function* decompress(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    let first: Uint8Array = Buffer.alloc(0);
    while (first.length < 4) {
      const next = await iterator.next();
      if (next.done === true) break;
      first = first.length === 0 ? next.value : Buffer.concat([first, next.value]);
    }
    const whole = withFirst(first, iterator);
    const compression = sniffCompression(first);
    if (compression === 'gzip') yield* gunzip(whole);
    else if (compression === 'zstd') yield* unzstd(whole);
    else for await (const chunk of whole) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  } finally {
    await iterator.return?.();
  }
}

export interface UnpackOptions extends ExtractOptions {
  /** Absent where nobody has promised one. */
  readonly diffId?: Digest;
  readonly signal?: AbortSignal;
}

export interface Unpacked extends ExtractReport {
  readonly diffId: Digest;
  /** Bytes of the uncompressed archive. */
  readonly archiveSize: number;
}

/**
 * Unpacks a blob into `folder`, which must exist. On failure the folder holds whatever was written until then: the caller removes it.
 *
 * @throws LayerError TarError DigestMismatchError ZstdError
 */
export async function unpackLayer(
  source: AsyncIterable<Uint8Array>,
  folder: string,
  options: UnpackOptions,
): Promise<Unpacked> {
  using extractor = new LayerExtractor(folder, options);
  const reader = new TarReader(extractor);
  const digester = new Digester(options.diffId);
  // Besides the files an archive has headers and padding: room for them, but not for endless zeros behind the end mark.
  const maxArchive = options.maxBytes * 2 + 2 ** 30;
  for await (const chunk of decompress(source)) {
    options.signal?.throwIfAborted();
    digester.update(chunk);
    if (digester.size > maxArchive) {
      throw new LayerError('the layer unpacks to more than there is room for', {
        code: 'LAYER_TOO_LARGE',
        hint: NO_ROOM,
      });
    }
    reader.write(chunk);
  }
  reader.end();
  extractor.finish();
  const diffId = digester.digest();
  if (options.diffId !== undefined) verifyDigest(diffId, options.diffId, 'the unpacked layer');
  return { ...extractor.report, diffId, archiveSize: digester.size };
}
