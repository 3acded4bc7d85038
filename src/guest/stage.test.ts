import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseAppletList } from './busybox.js';
import { isLeftOut, parseLdd, runtimePackages } from './stage.js';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tvmm-stage-'));
});
afterEach(() => rmSync(root, { recursive: true }));

test('the libraries and the loader are read from ldd, the kernel’s own page is not', () => {
  const text = [
    '\tlinux-vdso.so.1 (0x00007f67a6b7b000)',
    '\tlibdl.so.2 => /lib/x86_64-linux-gnu/libdl.so.2 (0x00007f67a6b62000)',
    '\tlibnot.so => not found',
    '\t/lib64/ld-linux-x86-64.so.2 (0x00007f67a6b7d000)',
  ].join('\n');
  expect(parseLdd(text)).toEqual(['/lib/x86_64-linux-gnu/libdl.so.2', '/lib64/ld-linux-x86-64.so.2']);
});

function addPackage(
  folder: string,
  dependencies: Record<string, string>,
  optional: Record<string, string> = {},
): void {
  mkdirSync(join(root, folder), { recursive: true });
  const manifest = { name: folder, dependencies, optionalDependencies: optional };
  writeFileSync(join(root, folder, 'package.json'), JSON.stringify(manifest));
}

test('runtime packages are found where Node would find them, with what they need', () => {
  addPackage('app', { a: '1' }, { absent: '1', native: '1' });
  addPackage('app/node_modules/a', { b: '1' });
  addPackage('app/node_modules/native', {});
  // Hoisted above the package, as in a project that depends on it.
  addPackage('node_modules/b', { a: '1' });
  addPackage('node_modules/unrelated', {});
  expect(Object.fromEntries(runtimePackages(join(root, 'app')))).toEqual({
    a: join(root, 'app/node_modules/a'),
    b: join(root, 'node_modules/b'),
    native: join(root, 'app/node_modules/native'),
  });
});

test('type declarations and source maps stay out of the image', () => {
  expect(['types', 'cli.js.map', 'bench', 'cli.js', 'firmware'].map(isLeftOut)).toEqual([
    true,
    true,
    true,
    false,
    false,
  ]);
});

test('applets keep their folders and nothing leaves the root', () => {
  expect(parseAppletList('usr/bin/[\nbin/sh\n../../etc/x\n\nsbin/acpid\n')).toEqual([
    '/usr/bin/[',
    '/bin/sh',
    '/sbin/acpid',
  ]);
});
