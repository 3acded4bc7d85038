import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decompressBlock, decompressLz4Legacy, Lz4Error } from './lz4.js';

const LIMIT = 64 * 1024 * 1024;

function frame(...blocks: number[][]): Uint8Array {
  const bytes = [0x02, 0x21, 0x4c, 0x18];
  for (const block of blocks) bytes.push(block.length & 0xff, block.length >> 8, 0, 0, ...block);
  return Uint8Array.from(bytes);
}

test('literals and an overlapping match are decoded', () => {
  // Token 0x1?: one literal "a", then a match of 4+5 bytes at offset 1, then the last literal "b".
  const block = [0x15, 0x61, 0x01, 0x00, 0x10, 0x62];
  expect(decompressLz4Legacy(frame(block), LIMIT).toString()).toBe('aaaaaaaaaab');
});

test('blocks follow one another', () => {
  expect(decompressLz4Legacy(frame([0x10, 0x61], [0x10, 0x62]), LIMIT).toString()).toBe('ab');
});

test.each([
  ['a match before the start', [0x10, 0x61, 0x02, 0x00, 0x00]],
  ['an offset of zero', [0x10, 0x61, 0x00, 0x00, 0x00]],
  ['literals past the end', [0x50, 0x61]],
  ['a length that never ends', [0xf0, 0xff, 0xff]],
  ['half an offset', [0x10, 0x61, 0x01]],
])('%s is refused', (_what, block) => {
  expect(() => decompressLz4Legacy(frame(block), LIMIT)).toThrow(Lz4Error);
});

test('a result above the limit is refused', () => {
  expect(() => decompressLz4Legacy(frame([0x15, 0x61, 0x01, 0x00, 0x10, 0x62]), 10)).toThrow(/more than 10/);
});

test('any bytes give an Lz4Error or a block within the limit', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        expect(decompressBlock(bytes, 4096).length).toBeLessThanOrEqual(4096);
      } catch (error) {
        expect(error).toBeInstanceOf(Lz4Error);
      }
    }),
  );
});

test('what the lz4 tool compressed comes back the same', () => {
  const pieces = Array.from({ length: 40_000 }, (_, i) => `${i * 7919} ${'abc'.repeat(i % 11)}\n`);
  const original = Buffer.concat([Buffer.from(pieces.join('')), Buffer.alloc(9 * 1024 * 1024)]);
  const { stdout } = spawnSync('lz4', ['-l', '-c'], { input: original, maxBuffer: LIMIT });
  expect(decompressLz4Legacy(stdout, LIMIT).equals(original)).toBe(true);
});
