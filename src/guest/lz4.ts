/**
 * Decompression of the LZ4 "legacy frame" (lz4_Frame_format.md, "Legacy frame"; lz4_Block_format.md), which is how
 * distributions compress their kernels. Pure, bounds-checked on both sides. Writes no LZ4 and reads no modern frames.
 */
import { TvmmError } from '../sys/errors.js';

/** Damaged LZ4 data. */
export class Lz4Error extends TvmmError {
  constructor(what: string) {
    super(`the LZ4 data is damaged: ${what}`, { code: 'LZ4_DAMAGED' });
  }
}

/** Little-endian magic number of a legacy frame. */
export const LZ4_LEGACY_MAGIC = 0x184c2102;
/** A legacy block never holds more than this once decompressed. */
const LEGACY_BLOCK = 8 * 1024 * 1024;
const MIN_MATCH = 4;

/** Decompresses a whole legacy frame; refuses results above `limit` bytes. Throws {@link Lz4Error}. */
export function decompressLz4Legacy(data: Uint8Array, limit: number): Buffer {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length < 4 || view.getUint32(0, true) !== LZ4_LEGACY_MAGIC)
    throw new Lz4Error('no legacy frame magic');
  const blocks: Uint8Array[] = [];
  let total = 0;
  let at = 4;
  while (at < data.length) {
    if (at + 4 > data.length) throw new Lz4Error('it ends inside a block size');
    const size = view.getUint32(at, true);
    at += 4;
    if (size > data.length - at) throw new Lz4Error(`a block of ${size} bytes reaches past its end`);
    const out = decompressBlock(data.subarray(at, at + size), LEGACY_BLOCK);
    at += size;
    total += out.length;
    if (total > limit) throw new Lz4Error(`it holds more than ${limit} bytes`);
    blocks.push(out);
  }
  return Buffer.concat(blocks, total);
}

/** Decompresses one block into at most `limit` bytes. */
export function decompressBlock(source: Uint8Array, limit: number): Uint8Array {
  const out = new Uint8Array(limit);
  const end = source.length;
  let from = 0;
  let to = 0;

  while (from < end) {
    const token = source[from++] ?? 0;
    let literals = token >> 4;
    if (literals === 15) {
      let more = 255;
      while (more === 255) {
        if (from >= end) throw new Lz4Error('it ends inside a literal length');
        more = source[from++] ?? 0;
        literals += more;
      }
    }
    if (literals > end - from) throw new Lz4Error('literals reach past the block');
    if (literals > limit - to) throw new Lz4Error('a block holds too much');
    if (literals < 32) for (let i = 0; i < literals; i++) out[to + i] = source[from + i] ?? 0;
    else out.set(source.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    if (from === end) break; // The last sequence has no match.

    if (from + 2 > end) throw new Lz4Error('it ends inside an offset');
    const offset = (source[from] ?? 0) | ((source[from + 1] ?? 0) << 8);
    from += 2;
    if (offset === 0 || offset > to) throw new Lz4Error('a match reaches before the block');
    let length = token & 15;
    if (length === 15) {
      let more = 255;
      while (more === 255) {
        if (from >= end) throw new Lz4Error('it ends inside a match length');
        more = source[from++] ?? 0;
        length += more;
      }
    }
    length += MIN_MATCH;
    if (length > limit - to) throw new Lz4Error('a block holds too much');
    // Overlap is the point of a short offset, so bytes are copied one after the other.
    if (offset >= length && length >= 32) out.copyWithin(to, to - offset, to - offset + length);
    else for (let i = 0; i < length; i++) out[to + i] = out[to + i - offset] ?? 0;
    to += length;
  }
  return out.subarray(0, to);
}
