import { spawnSync } from 'node:child_process';
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dir, type Entry, file, hard, layerTar, link, temporaryStore } from '../../../test/support/images.js';
import { pruneImages, removeImage } from './collect.js';
import { digestOf } from './digest.js';
import { loadImages } from './load.js';
import { overlayOptions } from './overlay-options.js';
import { canOverlay } from './overlay-support.js';
import type { OwnerMap } from './owners.js';
import {
  createRootfs,
  loadRootfs,
  mountRootfs,
  prepareRootfs,
  removeRootfs,
  unmountRootfs,
} from './rootfs.js';
import { rootfsPlan } from './rootfs-plan.js';
import { ImageStore, type StoredImage } from './store.js';
import { tarEnd, tarFile } from './tar-writer.js';

const isRoot = process.getuid?.() === 0;
let held: ReturnType<typeof temporaryStore>;
beforeEach(() => {
  held = temporaryStore();
});
afterEach(() => {
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(held.folder);
  held[Symbol.dispose]();
});

/** An image of these layers, in the store. */
async function imageOf(layers: readonly (readonly Entry[])[], store = held.store): Promise<StoredImage> {
  const tars = layers.map(layerTar);
  const config = Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: 'amd64',
      rootfs: { type: 'layers', diff_ids: tars.map(digestOf) },
    }),
  );
  const archive = Buffer.concat([
    ...tars.map((tar, i) => tarFile({ name: `${i}.tar` }, tar)),
    tarFile({ name: 'config.json' }, config),
    tarFile(
      { name: 'manifest.json' },
      Buffer.from(
        JSON.stringify([
          { Config: 'config.json', RepoTags: ['test:1'], Layers: tars.map((_, i) => `${i}.tar`) },
        ]),
      ),
    ),
    tarEnd(),
  ]);
  const stream = (async function* () {
    yield archive;
  })();
  const [image] = await loadImages(store, { stream, what: 'test' });
  if (image === undefined) throw new Error('no image');
  return image;
}

const LAYERS = [
  [
    dir('.', { mode: 0o755 }),
    dir('etc', { uid: 0 }),
    { ...file('etc/shadow', 's'), uid: 0, gid: 42, mode: 0o640 },
    file('old'),
    dir('data'),
    file('data/a'),
    dir('usr'),
    dir('usr/lib'),
    link('lib', 'usr/lib'),
    file('lib/x'),
    hard('etc/hard', 'old'),
    { ...file('suid'), mode: 0o4755 },
  ],
  [
    file('.wh.old'),
    dir('data'),
    file('data/.wh..wh..opq'),
    file('data/b'),
    { ...file('www'), uid: 33, gid: 33 },
  ],
  [file('lib/y'), dir('.', { mode: 0o711 })],
];
const range = (hostId: number) => [{ containerId: 0, hostId, size: 65536 }];
const OWNERS: OwnerMap = { uid: range(100_000), gid: range(200_000) };

/** What a program in the root would see. */
function expectContents(root: string): void {
  expect(readdirSync(root).sort()).toEqual(['data', 'etc', 'lib', 'suid', 'usr', 'www']);
  expect(readdirSync(join(root, 'data'))).toEqual(['b']);
  expect(readdirSync(join(root, 'usr/lib')).sort()).toEqual(['x', 'y']);
  expect(readFileSync(join(root, 'etc/hard'), 'utf8')).toBe('old');
  expect(lstatSync(root).mode & 0o7777).toBe(0o711);
  expect(lstatSync(join(root, 'suid')).mode & 0o7777).toBe(0o4755);
}

describe.runIf(isRoot)('a root', () => {
  it.each(['overlay', 'copy'] as const)(
    'shows the image’s files, and goes without a trace: %s',
    async (kind) => {
      const image = await imageOf(LAYERS);
      const record = await prepareRootfs(held.store, image, 'c1', { kind });
      const plan = rootfsPlan(held.store, record);
      const root = await mountRootfs(plan);
      expectContents(root);
      expect(lstatSync(join(root, 'etc/shadow'))).toMatchObject({ uid: 0, gid: 42 });
      writeFileSync(join(root, 'etc/shadow'), 'changed');
      await removeRootfs(held.store, 'c1');
      expect(readdirSync(held.store.path('rootfs'))).toEqual([]);
      await removeRootfs(held.store, 'c1');
      // What was written belonged to that root alone.
      const second = rootfsPlan(held.store, await prepareRootfs(held.store, image, 'c2', { kind }));
      expect(readFileSync(join(await mountRootfs(second), 'etc/shadow'), 'utf8')).toBe('s');
      await removeRootfs(held.store, 'c2');
    },
  );

  it.each(['overlay', 'copy'] as const)('has the owners of a user namespace: %s', async (kind) => {
    const image = await imageOf(LAYERS);
    const record = await prepareRootfs(held.store, image, 'c1', { kind, owners: OWNERS });
    const root = await mountRootfs(rootfsPlan(held.store, record));
    try {
      expectContents(root);
      expect(lstatSync(join(root, 'www'))).toMatchObject({ uid: 100_033, gid: 200_033 });
      expect(lstatSync(join(root, 'etc/shadow'))).toMatchObject({ uid: 100_000, gid: 200_042 });
      expect(lstatSync(root)).toMatchObject({ uid: 100_000, gid: 200_000 });
      // A change copies the file up with its owner.
      writeFileSync(join(root, 'www'), 'changed');
      chownSync(join(root, 'etc/hard'), 100_001, 200_001);
      expect(lstatSync(join(root, 'www'))).toMatchObject({ uid: 100_033, gid: 200_033 });
      expect(await loadRootfs(held.store, 'c1')).toEqual(record);
    } finally {
      await removeRootfs(held.store, 'c1');
    }
  });

  it('can have as many layers as images may, though their paths fill more than a page', {
    timeout: 120_000,
  }, async () => {
    const image = await imageOf(Array.from({ length: 127 }, (_, i) => [file(`f${i}`)]));
    const plan = rootfsPlan(held.store, await prepareRootfs(held.store, image, 'c1', { kind: 'overlay' }));
    expect(plan).toMatchObject({ fitsPage: false });
    expect(readdirSync(await mountRootfs(plan))).toHaveLength(127);
    await removeRootfs(held.store, 'c1');
  });

  it('of an image without layers is empty', async () => {
    const image = await imageOf([]);
    const plan = rootfsPlan(held.store, await prepareRootfs(held.store, image, 'c1', { kind: 'overlay' }));
    expect(readdirSync(await mountRootfs(plan))).toEqual([]);
    await removeRootfs(held.store, 'c1');
  });

  it('keeps its image from being removed', async () => {
    const image = await imageOf(LAYERS);
    await prepareRootfs(held.store, image, 'c1');
    await expect(removeImage(held.store, 'test:1')).rejects.toThrow('in use by c1');
    await pruneImages(held.store, { all: true });
    expect(readdirSync(held.store.path('layers'))).toHaveLength(3);
    await removeRootfs(held.store, 'c1');
    await removeImage(held.store, 'test:1');
    expect(readdirSync(held.store.path('layers'))).toEqual([]);
  });

  it('that cannot be mounted leaves no mount', async () => {
    const image = await imageOf(LAYERS);
    const record = await prepareRootfs(held.store, image, 'c1', { kind: 'overlay', owners: OWNERS });
    const plan = rootfsPlan(held.store, record);
    if (plan.kind === 'copy') throw new Error('an overlay was asked for');
    rmSync(plan.work, { recursive: true });
    await expect(mountRootfs(plan)).rejects.toMatchObject({ code: 'ROOTFS_MOUNT' });
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(held.folder);
    await removeRootfs(held.store, 'c1');
  });

  it('that cannot be made leaves no folder', async () => {
    const image = await imageOf([[{ ...file('x'), uid: 70_000 }]]);
    await expect(prepareRootfs(held.store, image, 'c1', { kind: 'copy', owners: OWNERS })).rejects.toThrow(
      'no ids for',
    );
    expect(existsSync(held.store.path('rootfs/c1'))).toBe(false);
    for (const id of ['', '../x', 'a/b', '.hidden']) {
      await expect(prepareRootfs(held.store, image, id)).rejects.toMatchObject({ code: 'ROOTFS_ID' });
    }
    await prepareRootfs(held.store, image, 'c1');
    await expect(prepareRootfs(held.store, image, 'c1')).rejects.toMatchObject({ code: 'ROOTFS_EXISTS' });
    await removeRootfs(held.store, 'c1');
  });

  it('whose making was killed can be removed by its name', async () => {
    mkdirSync(held.store.path('rootfs/dead/upper'), { recursive: true });
    await removeRootfs(held.store, 'dead');
    const image = await imageOf(LAYERS);
    const plan = rootfsPlan(held.store, await prepareRootfs(held.store, image, 'c1', { kind: 'overlay' }));
    await mountRootfs(plan);
    await mountRootfs(plan).catch(() => {});
    unmountRootfs(plan);
    unmountRootfs(plan);
    await removeRootfs(held.store, 'c1');
    expect(readdirSync(held.store.path('rootfs'))).toEqual([]);
  });

  it('can stand in a folder with any name', async () => {
    const store = ImageStore.open(join(held.folder, 'a:b,c\\d e'));
    const image = await imageOf(LAYERS, store);
    const plan = rootfsPlan(store, await prepareRootfs(store, image, 'c1', { kind: 'overlay' }));
    expectContents(await mountRootfs(plan));
    await removeRootfs(store, 'c1');
  });

  it('is a copy where its owners cannot be mapped by a mount', async () => {
    const image = await imageOf(LAYERS);
    // The kernel refuses ranges that overlap; for a copy the first counts.
    const owners = { ...OWNERS, gid: [...range(200_000), { containerId: 5, hostId: 1, size: 1 }] };
    const { record, root } = await createRootfs(held.store, image, 'c1', { owners });
    expect(record.kind).toBe('copy');
    expectContents(root);
    await removeRootfs(held.store, 'c1');
    await expect(createRootfs(held.store, image, 'c1', { owners, kind: 'overlay' })).rejects.toMatchObject({
      code: 'ROOTFS_MOUNT',
    });
    expect(readdirSync(held.store.path('rootfs'))).toEqual([]);
  });

  it('is a copy in a store that stands on an overlay itself, as in a container', async () => {
    const part = (name: string) => join(held.folder, name);
    for (const name of ['l', 'u', 'w', 'on']) mkdirSync(part(name));
    const options = `lowerdir=${part('l')},upperdir=${part('u')},workdir=${part('w')}`;
    expect(spawnSync('mount', ['-t', 'overlay', '-o', options, 'overlay', part('on')]).status).toBe(0);
    try {
      const store = ImageStore.open(part('on/root'));
      const image = await imageOf(LAYERS, store);
      const { record, root } = await createRootfs(store, image, 'c1', { owners: OWNERS });
      expect(record.kind).toBe('copy');
      await expect(prepareRootfs(store, image, 'c2', { kind: 'overlay' })).rejects.toMatchObject({
        code: 'NO_OVERLAY',
      });
      expectContents(root);
      expect(lstatSync(join(root, 'www'))).toMatchObject({ uid: 100_033, gid: 200_033 });
      await removeRootfs(store, 'c1');
    } finally {
      spawnSync('umount', ['-l', part('on')]);
    }
  });

  it('runs a program', async () => {
    const busybox = readFileSync('/bin/busybox');
    const image = await imageOf([[dir('bin'), { name: 'bin/sh', mode: 0o755 }]]);
    const plan = rootfsPlan(held.store, await prepareRootfs(held.store, image, 'c1'));
    const root = await mountRootfs(plan);
    writeFileSync(join(root, 'bin/sh'), busybox);
    const run = spawnSync('chroot', [root, '/bin/sh', '-c', 'echo hello'], { encoding: 'utf8' });
    expect(run.stdout).toBe('hello\n');
    await removeRootfs(held.store, 'c1');
  });
});

describe('overlay mounts', () => {
  it('escape what overlayfs reads as its own', () => {
    expect(overlayOptions({ lower: ['/a:b', '/c,d'], upper: '/u\\', work: '/w', userXattr: true })).toBe(
      'lowerdir=/a\\:b:/c\\,d,upperdir=/u\\\\,workdir=/w,userxattr',
    );
  });

  it('are found to be possible or not', async () => {
    expect(typeof (await canOverlay(held.store))).toBe('boolean');
    expect(readdirSync(held.store.path('tmp'))).toEqual([]);
  });
});
