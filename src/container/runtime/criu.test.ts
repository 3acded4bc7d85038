import { expect, test } from 'vitest';
import { externalMounts, firstError } from './criu.js';

test('the first error of a log is told without its place in criu’s sources', () => {
  const log = [
    '(00.01) Warn  (criu/kerndat.c:1): something',
    '(00.036884) Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds',
    '(00.036886) Error (criu/vdso.c:613): vdso: Failed to fill self vdso symtable',
  ].join('\n');
  expect(firstError(log)).toBe('vdso: Unexpected rt vDSO area bounds');
  expect(firstError('')).toBeUndefined();
});

test('bind mounts and masked paths are external, file systems of the container are not', () => {
  const spec = {
    ociVersion: '1.0.0',
    root: { path: 'r' },
    mounts: [
      { destination: '/proc', type: 'proc' },
      { destination: '/data', source: '/srv', options: ['rbind', 'ro'] },
    ],
    linux: { maskedPaths: ['/proc/kcore'] },
  };
  expect(externalMounts(spec, false)).toEqual([
    '--external',
    'mnt[/data]:/data',
    '--external',
    'mnt[/proc/kcore]:/proc/kcore',
  ]);
  expect(externalMounts(spec, true)).toEqual([
    '--external',
    'mnt[/data]:/srv',
    '--external',
    'mnt[/proc/kcore]:/dev/null',
  ]);
});
