import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ZstdDecoder, ZstdError } from './zstd.js';

function zstd(input: Uint8Array): Buffer {
  return spawnSync('zstd', ['-q', '-c'], { input, maxBuffer: 2 ** 26 }).stdout;
}

function decode(chunks: Uint8Array[]): Buffer {
  using decoder = new ZstdDecoder();
  const out: Buffer[] = [];
  for (const chunk of chunks) out.push(...decoder.write(chunk));
  decoder.end();
  return Buffer.concat(out);
}

describe('ZstdDecoder', () => {
  it('gives back what zstd compressed, cut anywhere', () => {
    const plain = Buffer.concat([Buffer.alloc(1_000_000, 'abc'), randomBytes(70_000), Buffer.alloc(300_000)]);
    const packed = zstd(plain);
    for (const at of [1, 5, 100, packed.length - 1]) {
      expect(decode([packed.subarray(0, at), packed.subarray(at)]).equals(plain)).toBe(true);
    }
  });

  it('reads frames one after another', () => {
    expect(decode([Buffer.concat([zstd(Buffer.from('one ')), zstd(Buffer.from('two'))])]).toString()).toBe(
      'one two',
    );
  });

  it('refuses an end in the middle of a frame', () => {
    const packed = zstd(Buffer.from('some text'));
    expect(() => decode([packed.subarray(0, -2)])).toThrow('ends too early');
  });

  it('answers any bytes with data or a ZstdError', () => {
    const packed = zstd(Buffer.alloc(5000, 'hello'));
    fc.assert(
      fc.property(
        fc.nat(packed.length - 1),
        fc.nat(255),
        fc.uint8Array({ maxLength: 20 }),
        (at, byte, tail) => {
          const spoiled = Buffer.concat([packed, tail]);
          spoiled[at] = byte;
          try {
            decode([spoiled]);
          } catch (error) {
            expect(error).toBeInstanceOf(ZstdError);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
