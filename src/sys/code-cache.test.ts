import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { codeCacheFile, loadBundle, recordCodeCaches } from './code-cache.js';

let folder: string;
let bundle: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-code-cache-'));
  bundle = join(folder, 'some.cjs');
  writeFileSync(
    bundle,
    '(function (exports, require, module, __filename, __dirname) {\nexports.where = () => [__filename, __dirname];\n})\n',
  );
});

afterEach(() => {
  recordCodeCaches();
  rmSync(folder, { recursive: true, force: true });
});

function run(variant?: string): unknown {
  return (loadBundle(bundle, variant) as { where(): unknown }).where();
}

const complete = () => codeCacheFile(`${bundle}.run`);
const poorer = () => codeCacheFile(`${bundle}.run-failed`);

test('a bundle finds itself and its folder', () => {
  expect(run()).toEqual([bundle, folder]);
});

test('a command that succeeded leaves a cache, and one that finds it leaves it alone', () => {
  run('run');
  recordCodeCaches(true);
  const written = readFileSync(complete());
  writeFileSync(complete(), written, { mode: 0o400 });
  run('run');
  recordCodeCaches(true);
  expect(readFileSync(complete())).toEqual(written);
  expect(existsSync(poorer())).toBe(false);
});

test('one that failed leaves a cache that stands in until one has succeeded', () => {
  run('run');
  recordCodeCaches(false);
  expect(existsSync(complete())).toBe(false);
  expect(existsSync(poorer())).toBe(true);
  run('run');
  recordCodeCaches(true);
  expect(existsSync(complete())).toBe(true);
});

test('a damaged cache is not used, and made anew', () => {
  const damage = Buffer.alloc(4096, 7);
  mkdirSync(dirname(complete()));
  writeFileSync(complete(), damage);
  expect(run('run')).toEqual([bundle, folder]);
  recordCodeCaches(true);
  expect(readFileSync(complete()).equals(damage)).toBe(false);
});
