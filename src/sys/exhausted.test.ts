import { expect, test } from 'vitest';
import { SystemError } from './errors.js';
import { exhaustionOf } from './exhausted.js';

function failed(code: string, syscall: string): Error {
  return Object.assign(new Error(code), { code, syscall });
}

test.each([
  ['ENOSPC', 'write', /disk is full/],
  ['ENOSPC', 'watch', /inotify watch /],
  ['EMFILE', 'inotify_init1', /inotify instance/],
  ['EMFILE', 'open', /file descriptor/],
  ['EAGAIN', 'spawn sh', /no process/],
  ['EROFS', 'mkdir', /read-only/],
])('%s of %s is told as what has run out', (code, syscall, words) => {
  const found = exhaustionOf(failed(code, syscall));
  expect(found?.what).toMatch(words);
  expect(found?.hint).toMatch(/\.$/);
});

test('a system call of our own is told the same way', () => {
  expect(exhaustionOf(new SystemError('posix_spawn', '/bin/true', 11))?.what).toMatch(/no process/);
});

test('what lies beneath an error is found', () => {
  const error = new Error('cannot start', {
    cause: new Error('no run', { cause: failed('EMFILE', 'open') }),
  });
  expect(exhaustionOf(error)?.what).toMatch(/file descriptor/);
});

test.each([failed('EAGAIN', 'read'), failed('ENOENT', 'open'), new TypeError('x'), 'ENOSPC', undefined])(
  '%s is something else',
  (error) => {
    expect(exhaustionOf(error)).toBeUndefined();
  },
);
