import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TvmmError } from '../sys/errors.js';
import { InitrdError, KernelError } from './errors.js';
import { BytesSource, FileSource, openFailure } from './source.js';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tvmm-source-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function failure(run: () => unknown): TvmmError {
  try {
    run();
  } catch (error) {
    if (error instanceof TvmmError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

test('a file is read into the middle of the memory that it is given', () => {
  const path = join(dir, 'kernel');
  writeFileSync(path, Uint8Array.of(10, 11, 12, 13));
  using source = FileSource.open(path);
  const memory = new Uint8Array(6);
  source.readInto(memory.subarray(2, 5), 1);
  expect([...memory]).toEqual([0, 0, 11, 12, 13, 0]);
  expect(source.size).toBe(4);
  expect([...source.read(3, 1)]).toEqual([13]);
});

test('a missing relative path says from where it was looked for', () => {
  const error = failure(() => FileSource.open('no-such-vmlinux'));
  expect(error).toBeInstanceOf(KernelError);
  expect(error.code).toBe('KERNEL_NOT_FOUND');
  expect(error.message).toBe(`no such kernel: "no-such-vmlinux" (seen from ${process.cwd()})`);
});

test('the kind of file decides the error class and the code', () => {
  const error = failure(() => FileSource.open(join(dir, 'missing'), 'initrd'));
  expect(error).toBeInstanceOf(InitrdError);
  expect(error.code).toBe('INITRD_NOT_FOUND');
  expect(error.message).toBe(`no such initrd: "${join(dir, 'missing')}"`);
});

test('directories, pipes and empty files are refused by name and leave no descriptor', () => {
  const directory = join(dir, 'directory');
  const pipe = join(dir, 'pipe');
  const empty = join(dir, 'empty');
  mkdirSync(directory);
  execFileSync('mkfifo', [pipe]);
  writeFileSync(empty, '');
  const before = readdirSync('/proc/self/fd').length;
  expect(failure(() => FileSource.open(directory))).toMatchObject({
    code: 'KERNEL_IS_DIRECTORY',
    message: `the kernel "${directory}" is a directory`,
  });
  expect(failure(() => FileSource.open(pipe))).toMatchObject({
    code: 'KERNEL_NOT_A_FILE',
    message: `the kernel "${pipe}" is not a regular file`,
  });
  expect(failure(() => FileSource.open(empty))).toMatchObject({
    code: 'KERNEL_EMPTY',
    message: `the kernel "${empty}" is empty`,
  });
  expect(readdirSync('/proc/self/fd').length).toBe(before);
});

test('a path with a NUL is a sentence, not a TypeError', () => {
  expect(failure(() => FileSource.open('/tmp/a\0b')).code).toBe('KERNEL_NOT_FOUND');
});

test.each([
  ['EACCES', 'KERNEL_NOT_PERMITTED', 'not permitted to read the kernel "/boot/vmlinuz"'],
  ['EPERM', 'KERNEL_NOT_PERMITTED', 'not permitted to read the kernel "/boot/vmlinuz"'],
  ['ENOTDIR', 'KERNEL_NOT_FOUND', 'no such kernel: "/boot/vmlinuz"'],
  ['ELOOP', 'KERNEL_UNREADABLE', 'cannot read the kernel "/boot/vmlinuz": ELOOP'],
])('%s becomes %s', (errno, code, message) => {
  const error = openFailure('kernel', '/boot/vmlinuz', Object.assign(new Error('x'), { code: errno }));
  expect(error).toMatchObject({ code, message });
  expect(error.hint).toBeTruthy();
});

test('reading past the end is refused before anything is read', () => {
  const path = join(dir, 'kernel');
  writeFileSync(path, 'abcd');
  using source = FileSource.open(path);
  for (const [offset, length] of [
    [0, 5],
    [4, 1],
    [-1, 1],
    [2 ** 53, 1],
    [0, 2 ** 60],
    [Number.NaN, 1],
  ] as const) {
    expect(failure(() => source.read(offset, length)).code).toBe('KERNEL_TRUNCATED');
    expect(failure(() => new BytesSource(new Uint8Array(4)).read(offset, length)).code).toBe(
      'KERNEL_TRUNCATED',
    );
  }
});

test('a file that shrinks after it was opened is truncated, not silently short', () => {
  const path = join(dir, 'kernel');
  writeFileSync(path, new Uint8Array(100));
  using source = FileSource.open(path);
  truncateSync(path, 40);
  expect(failure(() => source.readInto(new Uint8Array(60), 0))).toMatchObject({ code: 'KERNEL_TRUNCATED' });
});

test('disposing closes the descriptor once', () => {
  const path = join(dir, 'kernel');
  writeFileSync(path, 'abcd');
  const source = FileSource.open(path);
  source[Symbol.dispose]();
  const reused = openSync(path, 'r');
  source[Symbol.dispose]();
  closeSync(reused); // would throw EBADF if the second dispose had closed it
  expect(() => source.read(0, 1)).toThrow(KernelError);
});
