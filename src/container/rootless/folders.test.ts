import { chmodSync, mkdtempSync, rmdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { userFolders } from './folders.js';

const uid = process.geteuid?.() ?? 0;
/** Has no folder below /run/user. */
const STRANGER = 4_200_000;
let base = '';

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tvmm-folders-'));
});
afterEach(() => {
  rmSync(base, { recursive: true, force: true });
  for (const id of [STRANGER, uid]) {
    try {
      rmdirSync(`/tmp/tvmm-run-${id}`);
    } catch {
      // Not made, or in use by real containers.
    }
  }
});

test('data and runtime folders are those of the XDG variables, made for the user alone', () => {
  const folders = userFolders(uid, { XDG_DATA_HOME: '/data', XDG_RUNTIME_DIR: base, HOME: '/home/ann' });
  expect(folders).toEqual({ root: '/data/tvmm', run: join(base, 'tvmm') });
  expect(statSync(folders.run).mode & 0o777).toBe(0o700);
});

test('without XDG_DATA_HOME, or with one that is relative, images are below ~/.local/share', () => {
  expect(userFolders(uid, { XDG_RUNTIME_DIR: base, HOME: '/home/ann', XDG_DATA_HOME: 'data' }).root).toBe(
    '/home/ann/.local/share/tvmm',
  );
});

test('TVMM_ROOT and TVMM_RUN win', () => {
  expect(userFolders(uid, { TVMM_ROOT: '/a', TVMM_RUN: '/b', XDG_RUNTIME_DIR: base })).toEqual({
    root: '/a',
    run: '/b',
  });
});

test('a runtime folder that others may write to, or that is a link, is not used', () => {
  chmodSync(base, 0o777);
  expect(userFolders(uid, { XDG_RUNTIME_DIR: base, HOME: '/h' }).run).not.toContain(base);
  chmodSync(base, 0o700);
  symlinkSync(base, join(base, 'link'));
  expect(userFolders(uid, { XDG_RUNTIME_DIR: join(base, 'link'), HOME: '/h' }).run).not.toContain(base);
});

test('a folder that somebody else has put in the place of ours is refused', () => {
  // Made by us, it is not the stranger's.
  expect(() => userFolders(STRANGER, { HOME: '/h' })).toThrow(/is not this user's alone/);
});
