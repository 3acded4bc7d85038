import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cacheDir, cachedFolder, lockFile, writeFileAtomic } from './cache.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-cache-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('the cache folder follows TVMM_CACHE, then an absolute XDG_CACHE_HOME, then the home folder', () => {
  expect(cacheDir({ TVMM_CACHE: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
  expect(cacheDir({ TVMM_CACHE: '', XDG_CACHE_HOME: '/b' })).toBe('/b/tvmm');
  expect(cacheDir({ XDG_CACHE_HOME: 'relative' })).toMatch(/\/\.cache\/tvmm$/);
});

test('an entry is built once, and again when forced', async () => {
  const entry = join(folder, 'deep/entry');
  let builds = 0;
  const build = async (target: string) => writeFileSync(join(target, 'n'), String(++builds));
  await cachedFolder(entry, build);
  await cachedFolder(entry, build);
  expect(readFileSync(join(entry, 'n'), 'utf8')).toBe('1');
  await cachedFolder(entry, build, { force: true });
  expect(readFileSync(join(entry, 'n'), 'utf8')).toBe('2');
});

test('concurrent callers build an entry only once', async () => {
  const entry = join(folder, 'entry');
  let builds = 0;
  const build = async () => {
    builds++;
    await new Promise((done) => setTimeout(done, 20));
  };
  await Promise.all([cachedFolder(entry, build), cachedFolder(entry, build), cachedFolder(entry, build)]);
  expect(builds).toBe(1);
});

test('a build that throws leaves nothing but its lock file', async () => {
  const entry = join(folder, 'entry');
  const failing = cachedFolder(entry, async (target) => {
    writeFileSync(join(target, 'half'), '');
    throw new Error('no disk');
  });
  await expect(failing).rejects.toThrow('no disk');
  expect(readdirSync(folder)).toEqual(['.entry.lock']);
});

test('what killed builds left is removed by the next one, but not what another builds now', async () => {
  const leftover = join(folder, '.entry.building-abc');
  mkdirSync(leftover);
  writeFileSync(join(leftover, 'half'), '');
  const old = join(folder, '.other.building-old');
  const busy = join(folder, '.other.building-busy');
  mkdirSync(old);
  mkdirSync(busy);
  utimesSync(old, 1000, 1000);
  await cachedFolder(join(folder, 'entry'), async () => {});
  expect([leftover, old, busy].map((path) => existsSync(path))).toEqual([false, false, true]);
});

test('a lock whose holder was killed is free again', async () => {
  const path = join(folder, 'x.lock');
  const holder = spawn('flock', [path, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  await new Promise((held) => holder.stdout.once('data', held));
  let taken = false;
  const waiting = lockFile(path).then((lock) => {
    taken = true;
    return lock;
  });
  await new Promise((done) => setTimeout(done, 100));
  expect(taken).toBe(false);
  // A killed process's pipes are closed by the kernel; that is all the lock relies on.
  holder.stdin.destroy();
  await (await waiting)[Symbol.asyncDispose]();
});

test('an atomic write replaces the file and leaves no temporary one', () => {
  const path = join(folder, 'f.json');
  writeFileAtomic(path, 'one');
  writeFileAtomic(path, 'two');
  expect(readFileSync(path, 'utf8')).toBe('two');
  expect(readdirSync(folder)).toEqual(['f.json']);
});

test('a cache folder that cannot be created is one clear sentence with a hint', async () => {
  writeFileSync(join(folder, 'file'), '');
  const failing = cachedFolder(join(folder, 'file/below/entry'), async () => {});
  await expect(failing).rejects.toMatchObject({
    code: 'CACHE_UNUSABLE',
    hint: expect.stringContaining('TVMM_CACHE'),
  });
});
