import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { AT_FDCWD, byteString, mkdirat, O_DIRECTORY, O_PATH, openat } from './at.js';
import { close } from './libc.js';
import { removeDeepTree, removeTreeSync } from './remove-tree.js';

let base = '';
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tvmm-remove-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

/** Nests folders of 200 characters. */
function nest(path: string, depth: number): void {
  mkdirSync(path);
  let at = openat(AT_FDCWD, byteString(path), O_PATH | O_DIRECTORY);
  for (let i = 0; i < depth; i++) {
    mkdirat(at, 'd'.repeat(200), 0o700);
    const next = openat(at, 'd'.repeat(200), O_PATH | O_DIRECTORY);
    close(at);
    at = next;
  }
  close(at);
}

it('removes a tree that is deeper than any path reaches', () => {
  const tree = join(base, 'tree');
  nest(tree, 60);
  removeTreeSync(tree);
  expect(existsSync(tree)).toBe(false);
});

it('removes files, links and folders with names like its own, and touches nothing that links name', () => {
  const outside = join(base, 'outside');
  mkdirSync(outside, { mode: 0o755 });
  writeFileSync(join(outside, 'file'), 'kept');
  const tree = join(base, 'tree');
  for (const path of ['', '0', '0/1', '0/1/0', '1', 'a', 'a/0', 'a/0/\u{1f600}']) mkdirSync(join(tree, path));
  symlinkSync(outside, join(tree, 'a/0/1'));
  symlinkSync(outside, join(tree, '2'));
  writeFileSync(join(tree, '0/1/0/file'), '');
  removeDeepTree(tree);
  expect(existsSync(tree)).toBe(false);
  expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('kept');
  expect(statSync(outside).mode & 0o777).toBe(0o755);
});

it('takes what is not there for removed', () => {
  removeTreeSync(join(base, 'nothing'));
});
