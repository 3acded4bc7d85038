/** The build's stamp, by which the setup knows whether there is anything to build. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

interface Stamp {
  inputHash(root: string): string;
  builtHash(root: string): string;
  stampFile(root: string): string;
}
const stampModule: string = '../scripts/stamp.mjs';
const stamp: Stamp = await import(/* @vite-ignore */ stampModule);

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tvmm-stamp-'));
  mkdirSync(join(root, 'src/a'), { recursive: true });
  writeFileSync(join(root, 'src/a/x.ts'), 'one');
});
afterEach(() => rmSync(root, { recursive: true }));

test('the hash is of contents, whatever the times', () => {
  const before = stamp.inputHash(root);
  writeFileSync(join(root, 'src/a/x.ts'), 'one');
  expect(stamp.inputHash(root)).toBe(before);
  writeFileSync(join(root, 'src/a/x.ts'), 'two');
  expect(stamp.inputHash(root)).not.toBe(before);
});

test('a renamed file and a moved boundary between files change the hash', () => {
  const before = stamp.inputHash(root);
  rmSync(join(root, 'src/a/x.ts'));
  writeFileSync(join(root, 'src/a/y.ts'), 'one');
  expect(stamp.inputHash(root)).not.toBe(before);
});

test('tests are no input of the build', () => {
  const before = stamp.inputHash(root);
  writeFileSync(join(root, 'src/a/x.test.ts'), 'a test');
  expect(stamp.inputHash(root)).toBe(before);
});

test('a build that never finished has no hash', () => {
  expect(stamp.builtHash(root)).toBe('');
  mkdirSync(join(root, 'dist'));
  writeFileSync(stamp.stampFile(root), 'abc\n');
  expect(stamp.builtHash(root)).toBe('abc');
});
