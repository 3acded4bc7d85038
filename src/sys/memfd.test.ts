import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { sealedMemfd } from './memfd.js';

test('a sealed memfd gives back its bytes and takes no others', () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, index) => index % 251);
  using memfd = sealedMemfd('test', bytes, 'data');
  const again = openSync(`/proc/self/fd/${memfd.fd}`, 'r+');
  try {
    expect(readFileSync(again).equals(bytes)).toBe(true);
    expect(() => writeSync(again, 'x', 0)).toThrow(/EPERM/);
  } finally {
    closeSync(again);
  }
});
