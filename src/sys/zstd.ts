/**
 * Zstandard decompression by the distribution's libzstd (RFC 8878): streaming, at native speed, frames that ask for more than 128 MiB of
 * window refused by the library's own default. Loaded when the first frame arrives; Node has a decoder of its own only from 22.15 on.
 */
import koffi from 'koffi';
import { TvmmError } from './errors.js';

/** There is no libzstd, or the data is no valid Zstandard stream. */
export class ZstdError extends TvmmError {}

/** Bytes of one output piece. */
const PIECE = 256 * 1024;

function load() {
  let library: ReturnType<typeof koffi.load>;
  try {
    library = koffi.load('libzstd.so.1');
  } catch (cause) {
    throw new ZstdError('libzstd.so.1 is not on this machine, and the data is compressed with Zstandard', {
      code: 'ZSTD_MISSING',
      hint: 'Install the package libzstd1.',
      cause,
    });
  }
  return {
    create: library.func('ZSTD_createDStream', 'int64_t', []),
    free: library.func('ZSTD_freeDStream', 'size_t', ['int64_t']),
    decompress: library.func('ZSTD_decompressStream', 'size_t', ['int64_t', 'void *', 'void *']),
    isError: library.func('ZSTD_isError', 'unsigned int', ['size_t']),
    errorName: library.func('ZSTD_getErrorName', 'const char *', ['size_t']),
  };
}

let cached: ReturnType<typeof load> | undefined;

/** One stream of frames. Must be disposed. */
export class ZstdDecoder implements Disposable {
  readonly #zstd: ReturnType<typeof load>;
  #stream: number;
  /** ZSTD_decompressStream's last answer: 0 at the end of a frame. */
  #pending = 0;

  /** @throws ZstdError when there is no libzstd */
  constructor() {
    cached ??= load();
    this.#zstd = cached;
    this.#stream = Number(this.#zstd.create());
    if (this.#stream === 0)
      throw new ZstdError('libzstd has no memory for a stream', { code: 'ZSTD_MEMORY' });
  }

  /** Decompresses `input`, in pieces that are the caller's to keep. @throws ZstdError when the stream is corrupt */
  *write(input: Uint8Array): Generator<Buffer> {
    const source = koffi.alloc('uint8_t', Math.max(input.length, 1));
    const target = koffi.alloc('uint8_t', PIECE);
    try {
      new Uint8Array(koffi.view(source, input.length)).set(input);
      const output = new Uint8Array(koffi.view(target, PIECE));
      // ZSTD_inBuffer and ZSTD_outBuffer: { pointer, size, position }.
      const from = new BigInt64Array([BigInt(koffi.address(source)), BigInt(input.length), 0n]);
      const to = new BigInt64Array([BigInt(koffi.address(target)), BigInt(PIECE), 0n]);
      for (;;) {
        to[2] = 0n;
        const result: unknown = this.#zstd.decompress(this.#stream, to, from);
        if (this.#zstd.isError(result) !== 0) {
          throw new ZstdError(`the Zstandard data is corrupt: ${this.#zstd.errorName(result)}`, {
            code: 'ZSTD_CORRUPT',
          });
        }
        this.#pending = Number(result);
        const made = Number(to[2]);
        if (made > 0) yield Buffer.from(output.subarray(0, made));
        if (made < PIECE && Number(from[2]) === input.length) return;
      }
    } finally {
      koffi.free(source);
      koffi.free(target);
    }
  }

  /** Says that no more input comes. @throws ZstdError in the middle of a frame */
  end(): void {
    if (this.#pending !== 0)
      throw new ZstdError('the Zstandard data ends too early', { code: 'ZSTD_CORRUPT' });
  }

  [Symbol.dispose](): void {
    if (this.#stream === 0) return;
    this.#zstd.free(this.#stream);
    this.#stream = 0;
  }
}
