import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ContainerRecord } from './record.js';
import { removeOwn } from './remove-own.js';
import { ContainerFolder } from './store.js';

const RECORD: ContainerRecord = {
  ociVersion: '1.2.0',
  id: 'one',
  bundle: '/b',
  rootfs: '/b/rootfs',
  created: '2026-01-02T03:04:05.000Z',
  phase: 'created',
  ownPidNamespace: true,
  hasProcess: true,
  newKeyring: false,
};

let root: string;
let folder: ContainerFolder;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tvmm-remove-'));
  folder = new ContainerFolder(root, 'one');
  folder.make();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const remove = (record: ContainerRecord) => {
  const log = { warn: () => {}, debug: () => {} };
  return removeOwn({ root, cgroupManager: 'cgroupfs', rootless: false, log }, folder, record, true);
};

test('the container goes with the end of its run', async () => {
  folder.writeRecord(RECORD);
  await remove(RECORD);
  expect(folder.exists).toBe(false);
});

test('one that others have made anew by its name stays', async () => {
  folder.writeRecord({ ...RECORD, created: '2026-01-02T03:04:06.000Z' });
  await remove(RECORD);
  expect(folder.exists).toBe(true);
});

test('one that others have deleted is no error', async () => {
  folder.remove();
  await remove(RECORD);
  expect(folder.exists).toBe(false);
});
