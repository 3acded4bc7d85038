import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildGuest, cachedGuest, ensureGuest, requireGuest } from './image.js';
import { cachedKernel, ensureKernel } from './kernels.js';

/** A kernel in the cache, with its drivers built in, so that neither apt nor the network is needed. */
function fakeKernel(cache: string): string {
  const entry = join(cache, 'kernels/1.0-test_1');
  const modules = join(entry, 'lib/modules/1.0-test');
  mkdirSync(modules, { recursive: true });
  const builtin = ['virtio_pci', 'virtio_blk', 'virtio_console'].map((name) => `kernel/${name}.ko\n`);
  writeFileSync(join(modules, 'modules.builtin'), builtin.join(''));
  writeFileSync(join(entry, 'vmlinux'), 'elf');
  writeFileSync(join(entry, 'bzImage'), 'bz');
  writeFileSync(join(entry, 'kernel.json'), '{"version":"1.0-test"}');
  writeFileSync(join(cache, 'kernels/cloud.json'), '{"folder":"1.0-test_1"}');
  return entry;
}

const before = process.env.TVMM_CACHE;
let cache = '';
beforeAll(() => {
  cache = mkdtempSync(join(tmpdir(), 'tvmm-image-'));
  process.env.TVMM_CACHE = cache;
});
afterAll(() => {
  if (before === undefined) delete process.env.TVMM_CACHE;
  else process.env.TVMM_CACHE = before;
  rmSync(cache, { recursive: true, force: true });
});

test('a guest that was never built is one sentence with the command that builds it', () => {
  expect(cachedGuest()).toBeUndefined();
  expect(() => requireGuest()).toThrow(
    expect.objectContaining({ hint: expect.stringContaining('tvmm image build') }),
  );
});

test('a kernel that is cached is found without apt; a damaged entry counts as absent', async () => {
  const entry = fakeKernel(cache);
  const path = process.env.PATH;
  process.env.PATH = '/nowhere';
  try {
    expect(await ensureKernel('cloud')).toEqual({
      version: '1.0-test',
      vmlinux: join(entry, 'vmlinux'),
      bzImage: join(entry, 'bzImage'),
      modulesDir: join(entry, 'lib/modules/1.0-test'),
    });
  } finally {
    process.env.PATH = path;
  }
  expect(cachedKernel('full')).toBeUndefined();
  rmSync(join(entry, 'vmlinux'));
  expect(cachedKernel('cloud')).toBeUndefined();
  writeFileSync(join(cache, 'kernels/cloud.json'), '{"folder":"../../etc"}');
  expect(cachedKernel('cloud')).toBeUndefined();
});

test('a guest is built once, found again silently, and built anew when that is forced', async () => {
  fakeKernel(cache);
  const said: string[] = [];
  const progress = (message: string) => said.push(message);

  const guest = await ensureGuest(progress);
  expect(said).toContain('building the root image');
  expect(guest.version).toBe('1.0-test');
  expect(readFileSync(guest.initrd).length % 512).toBe(0);

  said.length = 0;
  expect(await ensureGuest(progress)).toEqual(guest);
  expect(requireGuest()).toEqual(guest);
  expect(said).toEqual([]);

  const { ino } = statSync(guest.rootfs);
  await buildGuest({ force: true, progress });
  expect(statSync(guest.rootfs).ino).not.toBe(ino);

  rmSync(dirname(guest.rootfs), { recursive: true });
  expect(cachedGuest(), 'what someone removed counts as absent').toBeUndefined();
}, 120_000);
