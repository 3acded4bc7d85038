import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildInitramfs } from './initramfs.js';
import { runArchive } from './run-archive.js';

let modulesDir = '';
beforeEach(() => {
  modulesDir = mkdtempSync(join(tmpdir(), 'tvmm-initramfs-'));
});
afterEach(() => rmSync(modulesDir, { recursive: true }));

/** Names of a newc archive's entries. */
function names(archive: Buffer): string[] {
  const found: string[] = [];
  const align = (at: number) => (at + 3) & ~3;
  for (let at = 0; archive.toString('latin1', at, at + 6) === '070701'; ) {
    const field = (index: number) =>
      Number.parseInt(archive.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
    const size = field(6);
    const name = archive.toString('utf8', at + 110, at + 110 + field(11) - 1);
    found.push(name);
    at = align(align(at + 110 + field(11)) + size);
  }
  return found;
}

test('a kernel with its drivers built in needs no modules', async () => {
  writeFileSync(
    join(modulesDir, 'modules.builtin'),
    ['virtio_pci', 'virtio_blk', 'virtio_console'].map((name) => `kernel/${name}.ko\n`).join(''),
  );
  const archive = await buildInitramfs({ busybox: Buffer.from('x'), version: '1.0', modulesDir });
  const found = names(archive);
  expect(found).toEqual(
    expect.arrayContaining(['init', 'bin/busybox', 'bin/sh', 'dev/console', 'newroot', 'tvmm/session']),
  );
  expect(found.filter((name) => name.endsWith('.ko'))).toEqual([]);
});

test('a kernel without a driver that every guest needs is refused by name', async () => {
  mkdirSync(join(modulesDir, 'kernel'));
  const building = buildInitramfs({ busybox: Buffer.from('x'), version: '1.0', modulesDir });
  await expect(building).rejects.toThrow('has no kernel module virtio_pci');
});

test('the archive of a command can follow the initramfs and holds its text', () => {
  const archive = runArchive('echo "$HOME"; exit 7\n');
  expect(names(archive)).toEqual(['tvmm', 'tvmm/run', 'TRAILER!!!']);
  expect(archive.length % 4).toBe(0);
  expect(archive.includes('echo "$HOME"; exit 7\n')).toBe(true);
});
