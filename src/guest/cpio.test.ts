import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CpioWriter } from './cpio.js';

test('a file entry is laid out as buffer-format.rst says', () => {
  const archive = new CpioWriter().file('init', 'abc', 0o755).finish();
  expect(archive.toString('latin1', 0, 6)).toBe('070701');
  const field = (index: number) =>
    Number.parseInt(archive.toString('latin1', 6 + index * 8, 14 + index * 8), 16);
  expect(field(1)).toBe(0o100755); // c_mode
  expect(field(6)).toBe(3); // c_filesize
  expect(field(11)).toBe(5); // c_namesize counts the NUL
  expect(archive.toString('latin1', 110, 115)).toBe('init\0');
  expect(archive.toString('latin1', 116, 119)).toBe('abc');
  expect(archive.length % 512).toBe(0);
});

test('the same entries always give the same bytes', () => {
  const make = () =>
    new CpioWriter().file('a/b', 'x').symlink('c', 'a/b').device('dev/console', 'char', 5, 1).finish();
  expect(make().equals(make())).toBe(true);
});

test('GNU cpio lists every entry, with parents before their children', () => {
  const archive = new CpioWriter()
    .file('a/b/c', 'x')
    .symlink('link', 'a')
    .device('dev/null', 'char', 1, 3)
    .finish();
  const listing = spawnSync('cpio', ['-t', '--quiet'], { input: archive, encoding: 'utf8' });
  expect(listing.stderr).toBe('');
  expect(listing.stdout.trim().split('\n')).toEqual(['a', 'a/b', 'a/b/c', 'link', 'dev', 'dev/null']);
});

test('GNU cpio restores contents of every length and links', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tvmm-cpio-'));
  try {
    const writer = new CpioWriter();
    const files = [0, 1, 2, 3, 4, 5, 511, 512, 513].map((size) => Buffer.alloc(size, size & 0xff));
    for (const [index, data] of files.entries()) writer.file(`f${index}`, data);
    writer.symlink('link', 'f1');
    const unpack = spawnSync('cpio', ['-i', '--quiet'], {
      input: writer.finish(),
      cwd: folder,
      encoding: 'utf8',
    });
    expect(unpack.stderr).toBe('');
    for (const [index, data] of files.entries()) {
      expect(readFileSync(join(folder, `f${index}`)).equals(data), `f${index}`).toBe(true);
    }
    expect(readlinkSync(join(folder, 'link'))).toBe('f1');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.each(['', '/', '..', 'a/../b', 'a//b', './a', 'a\0b', 'TRAILER!!!'])(
  'the name %j is refused',
  (name) => {
    expect(() => new CpioWriter().file(name, '')).toThrow(/usable name/);
  },
);

test('the same name twice is refused', () => {
  expect(() => new CpioWriter().file('a', '').file('/a', '')).toThrow(/twice/);
});

test('any name is either refused or stays inside the root', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', '/', '.', '\0', 'é') }), (name) => {
      let archive: Buffer;
      try {
        archive = new CpioWriter().file(name, '').finish();
      } catch (error) {
        expect(error).toMatchObject({ code: 'CPIO_NAME' });
        return;
      }
      expect(archive.includes('\0/')).toBe(false);
      expect(archive.includes('..')).toBe(/[^/]\.\.|\.\.[^/]/.test(name));
    }),
  );
});
