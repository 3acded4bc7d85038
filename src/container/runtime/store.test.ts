import { existsSync, lstatSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { claim } from './claim.js';
import { ContainerFolder, checkId, containerIds } from './store.js';

let root: string;
beforeEach(() => {
  root = join(mkdtempSync(join(tmpdir(), 'tvmm-store-')), 'a/root');
});
afterEach(() => rmSync(join(root, '../..'), { recursive: true, force: true }));

test.each(['a', 'A-b_c.d+1', 'x'.repeat(255), '...'])('%j is an id', (id) => {
  expect(() => checkId(id)).not.toThrow();
});

test.each(['', '.', '..', 'a/b', '/a', 'a\0', 'a\n', 'ü', 'x'.repeat(256)])('%j is no id', (id) => {
  expect(() => checkId(id)).toThrow(/container id/i);
});

test('the folder is made with the root above it, once', () => {
  const folder = new ContainerFolder(root, 'one');
  expect(folder.make()).toBe(true);
  expect(folder.make()).toBe(false);
  expect(containerIds(root)).toEqual(['one']);
  expect(containerIds('/no/such/root')).toEqual([]);
});

test('of two who lock, the second finds it busy until the first lets go', () => {
  const folder = new ContainerFolder(root, 'one');
  folder.make();
  const first = folder.tryLock();
  expect(folder.tryLock()).toBe('busy');
  if (first === undefined || first === 'busy') throw new Error('no lock');
  first[Symbol.dispose]();
  const second = folder.tryLock();
  expect(typeof second).toBe('object');
});

test('who waits for the lock of a folder that is removed meanwhile gets none', async () => {
  const folder = new ContainerFolder(root, 'one');
  folder.make();
  const held = await folder.lock();
  const waiting = folder.lock();
  folder.remove();
  held[Symbol.dispose]();
  await expect(waiting).rejects.toThrow('container does not exist');
  expect(folder.exists).toBe(false);
});

test('a lock file that is a link is not followed', () => {
  const folder = new ContainerFolder(root, 'one');
  folder.make();
  symlinkSync('/etc/passwd', join(folder.path, 'lock'));
  expect(() => folder.tryLock()).toThrow(/ELOOP/);
});

test('the fifo may be written by anybody and is removed without complaint when it is gone', () => {
  const folder = new ContainerFolder(root, 'one');
  folder.make();
  folder.makeFifo(undefined);
  expect(lstatSync(folder.fifoPath).isFIFO()).toBe(true);
  expect(lstatSync(folder.fifoPath).mode & 0o777).toBe(0o622);
  folder.removeFifo();
  folder.removeFifo();
  expect(folder.hasFifo).toBe(false);
});

test('an id is claimed by one, and what a killed create has left is taken over', async () => {
  const folder = new ContainerFolder(root, 'one');
  const lock = await claim(folder);
  await expect(claim(folder)).rejects.toThrow('already exists');
  folder.writeConfig('{}');
  writeFileSync(
    join(folder.path, 'state.json'),
    JSON.stringify({
      tvmmRecord: 1,
      ociVersion: '1.0.0',
      id: 'one',
      bundle: '/b',
      rootfs: '/r',
      created: 'now',
      phase: 'creating',
    }),
  );
  // The killed one no longer holds the lock.
  lock[Symbol.dispose]();
  using again = await claim(folder);
  expect(again).toBeDefined();
  expect(existsSync(folder.configPath)).toBe(false);
});
