import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readIfThere, writeReplaceable, writeWhole } from './files.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-files-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test.each([
  ['whole', writeWhole],
  ['replaceable', writeReplaceable],
])('a %s file is made, then replaced, with nothing beside it', (_name, write) => {
  const file = join(folder, 'file');
  expect(readIfThere(file)).toBeUndefined();
  for (const content of ['one\n', 'another that is longer\n', '']) {
    write(file, content, 0o640);
    expect(readFileSync(file, 'utf8')).toBe(content);
    expect(statSync(file).mode & 0o777).toBe(0o640);
    expect(readdirSync(folder)).toEqual(['file']);
  }
});

test('a file cannot be written where there is no folder', () => {
  expect(() => writeReplaceable(join(folder, 'none/file'), '')).toThrow('ENOENT');
});
