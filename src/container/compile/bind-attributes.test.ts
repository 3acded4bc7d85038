import { expect, test } from 'vitest';
import { MOUNT_ATTR as A, parseMountOptions } from '../spec/mount-options.js';
import { bindAttributes } from './bind-attributes.js';

const PLAIN = A.RDONLY | A.NOSUID | A.NODEV | A.NOEXEC | A.NOSYMFOLLOW;
const of = (...options: string[]) => bindAttributes(parseMountOptions(['rbind', ...options]));

test.each([[[]], [['rprivate']], [['rro']], [['sync']]])(
  '%j leaves a bind mount as its source is',
  (options) => {
    expect(of(...options)).toBeUndefined();
  },
);

test('one option clears what the others would have set', () => {
  expect(of('ro')).toMatchObject({ set: A.RDONLY, clear: PLAIN & ~A.RDONLY });
  expect(of('rw')).toMatchObject({ set: 0, clear: PLAIN });
});

test('access times stay unless one of them is set', () => {
  const times = A._ATIME | A.NODIRATIME;
  expect((of('ro', 'atime')?.clear ?? 0) & times).toBe(0);
  expect(of('noatime')).toMatchObject({ set: A.NOATIME, clear: PLAIN | times });
  expect(of('nodiratime')).toMatchObject({ set: A.NODIRATIME, clear: PLAIN | A._ATIME });
});

test('what was asked for by name is not merely implied', () => {
  expect(of('ro', 'suid')?.implied).toBe(A.NODEV | A.NOEXEC);
});
