import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeExt4 } from './ext4.js';

const env = { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };

let work = '';
let tree = '';
beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), 'tvmm-ext4-'));
  tree = join(work, 'tree');
  mkdirSync(join(tree, 'etc'), { recursive: true });
  writeFileSync(join(tree, 'etc/motd'), 'hello\n');
  symlinkSync('etc/motd', join(tree, 'link'));
});
afterEach(() => rmSync(work, { recursive: true }));

const OPTIONS = { free: 8 * 1024 * 1024, time: 1_577_836_800, label: 'test' };

function debugfs(image: string, command: string): string {
  return spawnSync('debugfs', ['-R', command, image], { env, encoding: 'utf8' }).stdout;
}

test('the image passes fsck, holds the files, and has the room that was asked for', async () => {
  const image = join(work, 'image');
  await makeExt4(image, tree, OPTIONS);
  expect(spawnSync('e2fsck', ['-fn', image], { env }).status).toBe(0);
  expect(debugfs(image, 'cat /etc/motd')).toBe('hello\n');
  expect(debugfs(image, 'stat /etc/motd')).toMatch(/User:\s+0\s+Group:\s+0/);
  const free = Number(/Free blocks:\s+(\d+)/.exec(debugfs(image, 'stats'))?.[1]);
  expect(free * 4096).toBeGreaterThanOrEqual(OPTIONS.free);
});

test('the image is sparse', async () => {
  const image = join(work, 'image');
  await makeExt4(image, tree, { ...OPTIONS, free: 64 * 1024 * 1024 });
  const { size, blocks } = statSync(image);
  expect(size).toBeGreaterThan(64 * 1024 * 1024);
  expect(blocks * 512).toBeLessThan(size / 4);
});

test('the same folder gives the same image', async () => {
  await makeExt4(join(work, 'a'), tree, OPTIONS);
  await makeExt4(join(work, 'b'), tree, OPTIONS);
  expect(readFileSync(join(work, 'a')).equals(readFileSync(join(work, 'b')))).toBe(true);
});

test('a place that cannot be written to is one sentence that names the image', async () => {
  const image = join(work, 'nowhere/image');
  await expect(makeExt4(image, tree, OPTIONS)).rejects.toThrow(`the root image ${image} cannot be made`);
});
