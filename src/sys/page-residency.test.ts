import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { syscall } from './libc.js';
import { PageResidency } from './page-residency.js';

const SYS_fadvise64 = 221;
const POSIX_FADV_DONTNEED = 4;
const TMPFS_MAGIC = 0x01021994;
/** On a disk, mostly, which /tmp need not be. */
const folder = mkdtempSync('/var/tmp/tvmm-resident-');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function open(name: string, size: number): { fd: number; path: string } & Disposable {
  const path = join(folder, name);
  writeFileSync(path, Buffer.alloc(size, 1));
  const fd = openSync(path, 'r+');
  return { fd, path, [Symbol.dispose]: () => closeSync(fd) };
}

test('pages are resident after they were written, and not after they were dropped', (context) => {
  if (statfsSync(folder).type === TMPFS_MAGIC)
    context.skip('/var/tmp is a tmpfs, which has no pages to drop');
  using file = open('dropped', 65536);
  using residency = PageResidency.of(file.fd, 65536);
  expect(residency?.resident(0, 65536)).toBe(true);
  fsyncSync(file.fd);
  syscall(SYS_fadvise64, file.fd, 0, 0, POSIX_FADV_DONTNEED, 0, 0);
  expect(residency?.resident(4096, 1)).toBe(false);
  readFileSync(file.path);
  expect(residency?.resident(100, 60000)).toBe(true);
});

test('ranges outside of the file are not resident', () => {
  using file = open('shrunk', 65536);
  using residency = PageResidency.of(file.fd, 65536);
  expect(residency?.resident(65536, 1)).toBe(false);
  expect(residency?.resident(-4096, 1)).toBe(false);
  expect(residency?.resident(0, 0)).toBe(false);
  expect(residency?.resident(0, Number.NaN)).toBe(false);
});

test('a mapping is given back, also twice', () => {
  using file = open('unmapped', 65536);
  const maps = () => readFileSync('/proc/self/maps', 'utf8').split(file.path).length;
  const residency = PageResidency.of(file.fd, 65536);
  expect(maps()).toBe(2);
  residency?.[Symbol.dispose]();
  residency?.[Symbol.dispose]();
  expect(maps()).toBe(1);
});

test('what cannot be mapped has no residency', () => {
  expect(PageResidency.of(-1, 4096)).toBe(undefined);
});
