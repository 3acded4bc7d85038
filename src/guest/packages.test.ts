import { expect, test } from 'vitest';
import { parsePackageInfo } from './packages.js';

test('a stanza gives name, version and the first of every alternative', () => {
  const text = [
    'Package: linux-image-virtual',
    'Version: 5.15.0.1',
    'Pre-Depends: init:any',
    'Depends: linux-image-5.15.0-1-generic (= 5.15), linux-modules-extra-5.15.0-1-generic | other, linux-firmware',
    'Description: x',
    '',
    'Package: second',
    'Version: 2',
  ].join('\n');
  expect(parsePackageInfo(text)).toEqual({
    name: 'linux-image-virtual',
    version: '5.15.0.1',
    depends: [
      'init',
      'linux-image-5.15.0-1-generic',
      'linux-modules-extra-5.15.0-1-generic',
      'linux-firmware',
    ],
  });
});

test('no stanza is no package', () => {
  expect(parsePackageInfo('')).toBeUndefined();
  expect(parsePackageInfo('N: No packages found\n')).toBeUndefined();
});
