import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dir, file, layerTar, packedLayer, temporaryStore } from '../../../test/support/images.js';
import { TestRegistry } from '../../../test/support/registry.js';
import { pruneImages, removeImage } from './collect.js';
import { digestOf, parseDigest } from './digest.js';
import { diffFolder } from './layers.js';
import { loadImages } from './load.js';
import { Lock } from './lock.js';
import { MEDIA } from './manifest.js';
import { type PullProgress, pullImage } from './pull.js';
import { saveImages } from './save.js';
import { ImageStore } from './store.js';
import { tarEnd, tarFile } from './tar-writer.js';

const FAST = { retryMs: 1, environment: { HOME: '/nonexistent' } };
const BASE = packedLayer([dir('etc'), file('etc/os', 'base'), file('gone')]);
const APP = packedLayer([file('.wh.gone'), file('app', 'one')]);
const OTHER = packedLayer([file('other')]);

let held: ReturnType<typeof temporaryStore>;
let store: ImageStore;
let registry: TestRegistry;
beforeEach(async () => {
  held = temporaryStore();
  store = held.store;
  registry = await TestRegistry.start({ auth: 'bearer' });
  registry.addImage('app', 'latest', [BASE, APP], { Cmd: ['/app'] });
  registry.addImage('other', 'latest', [BASE, OTHER]);
});
afterEach(async () => {
  await registry[Symbol.asyncDispose]();
  // Nothing half made stays, whatever the test did, but for parts of blobs.
  expect(readdirSync(store.path('tmp')).filter((name) => !name.endsWith('.partial'))).toEqual([]);
  held[Symbol.dispose]();
});

const pull = (name: string, onProgress?: (progress: PullProgress) => void) =>
  pullImage(store, `${registry.host}/${name}`, {
    ...FAST,
    ...(onProgress === undefined ? {} : { onProgress }),
  });
const count = (pattern: RegExp) => registry.requests.filter((request) => pattern.test(request)).length;
const layers = () => readdirSync(store.path('layers')).length;

describe('pullImage', () => {
  it('pulls an image, unpacks its layers and remembers its name', async () => {
    const events: string[] = [];
    const image = await pull('app', ({ kind }) => events.push(kind));
    expect(image.config.config.cmd).toEqual(['/app']);
    expect(image.chain).toEqual([BASE.diffId, digestOf(`${BASE.diffId} ${APP.diffId}`)]);
    const [base, app] = image.chain.map((chainId) => diffFolder(store, chainId));
    expect(readFileSync(join(base ?? '', 'etc/os'), 'utf8')).toBe('base');
    expect(readdirSync(app ?? '').sort()).toEqual(['app', 'gone']);
    expect(new Set(events)).toEqual(new Set(['manifest', 'download', 'unpacking', 'done']));
    expect((await store.records()).map(({ name }) => name)).toEqual([`${registry.host}/app:latest`]);
  });

  it('fetches nothing twice: neither again nor for another image with the same layers', async () => {
    await pull('app');
    const before = count(/blobs/);
    await pull('app');
    expect(count(/blobs/)).toBe(before);
    await pull('other');
    // Its configuration and its own layer.
    expect(count(/blobs/)).toBe(before + 2);
    expect(layers()).toBe(3);
  });

  it('shares the work of pulls at the same time', async () => {
    const images = await Promise.all([pull('app'), pull('app'), pull('other')]);
    expect(images.length).toBe(3);
    expect(count(new RegExp(`blobs/${digestOf(BASE.packed)}`))).toBe(1);
    expect(layers()).toBe(3);
  });

  it('takes the image of the platform from an index', async () => {
    const { digest, size } = registry.addImage('multi', 'amd', [BASE]);
    registry.addManifest('multi', 'latest', MEDIA.index, {
      schemaVersion: 2,
      mediaType: MEDIA.index,
      manifests: [
        { mediaType: MEDIA.manifest, digest, size, platform: { os: 'linux', architecture: 'amd64' } },
      ],
    });
    expect((await pull('multi')).manifestDigest).toBe(digest);
    await expect(
      pullImage(store, `${registry.host}/multi`, {
        ...FAST,
        platform: { os: 'linux', architecture: 's390x' },
      }),
    ).rejects.toMatchObject({ code: 'PLATFORM_MISSING' });
  });

  it('keeps nothing of an image whose layer is wrong, and says which', async () => {
    registry.addImage('bad', 'latest', [BASE, { packed: APP.packed, diffId: OTHER.diffId }]);
    await expect(pull('bad')).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    registry.addImage('escape', 'latest', [packedLayer([file('../../../../outside')])]);
    await expect(pull('escape')).rejects.toThrow('leads upwards');
    registry.addImage('count', 'latest', [BASE, APP]);
    registry.addManifest('count', 'latest', MEDIA.manifest, {
      ...JSON.parse(registry.manifests.get('count/latest')?.bytes.toString() ?? ''),
      layers: [],
    });
    await expect(pull('count')).rejects.toThrow('0 layers in its manifest and 2');
    expect(await store.records()).toEqual([]);
    expect(layers()).toBe(1);
    await pruneImages(store);
    expect(layers()).toBe(0);
    expect(readdirSync(store.path('blobs/sha256'))).toEqual([]);
  });

  it('stops the other layers when one fails, and goes on from there the next time', async () => {
    // Not before the other one is whole.
    registry.behaviour.hook = (_, response, url) => {
      if (!url.pathname.endsWith(digestOf(APP.packed))) return false;
      const look = async (): Promise<void> => {
        while (!(await store.hasBlob(digestOf(BASE.packed)))) await delay(5);
        response.writeHead(404).end();
      };
      void look();
      return true;
    };
    await expect(pull('app')).rejects.toMatchObject({ status: 404 });
    registry.behaviour.hook = () => false;
    await pull('app');
    expect(count(new RegExp(`blobs/${digestOf(BASE.packed)}`))).toBe(1);
  });

  it('goes on after the process was killed in the middle of anything', async () => {
    // What a killed pull leaves: part of a blob, a layer in the making, a lock file that nobody holds.
    const digest = digestOf(APP.packed);
    writeFileSync(store.path('tmp', `${digest.replace(':', '-')}.partial`), APP.packed.subarray(0, 20));
    mkdirSync(store.path('tmp/layer-1-dead/diff'), { recursive: true });
    writeFileSync(store.path('locks', `blob-${digest.replace(':', '-')}`), '');
    await pull('app');
    expect(registry.headers.get(`/v2/app/blobs/${digest}`)?.range).toBe('bytes=20-');
    await pruneImages(store);
    expect(readdirSync(store.path('tmp'))).toEqual([]);
  });
});

describe('trouble with the disk', () => {
  it.runIf(process.getuid?.() === 0)(
    'that is full leaves no half layer, and is said in a sentence',
    async () => {
      const small = join(held.folder, 'small');
      mkdirSync(small);
      expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=70M', 'tmpfs', small]).status).toBe(0);
      try {
        const packed = gzipSync(layerTar([file('big', 'x'.repeat(3_000_000))]));
        registry.addImage('big', 'latest', [{ packed, diffId: digestOf(gunzipSync(packed)) }]);
        const full = ImageStore.open(join(small, 'root'));
        // All but a little of what is held free is taken by somebody else.
        writeFileSync(join(small, 'other'), Buffer.alloc(69 * 2 ** 20));
        await expect(pullImage(full, `${registry.host}/big`, FAST)).rejects.toMatchObject({
          message: expect.stringMatching(/room for|full/),
        });
        expect(readdirSync(full.path('layers'))).toEqual([]);
        expect(readdirSync(full.path('tmp')).filter((name) => !name.endsWith('.partial'))).toEqual([]);
        rmSync(join(small, 'other'));
        await pullImage(full, `${registry.host}/big`, FAST);
      } finally {
        spawnSync('umount', ['-l', small]);
      }
    },
  );

  it('that has changed a blob: the blob goes, and the next pull brings it again', async () => {
    await pull('app');
    const path = store.blobPath(parseDigest(digestOf(APP.packed), ''));
    rmSync(store.layerFolder(digestOf(`${BASE.diffId} ${APP.diffId}`)), { recursive: true });
    writeFileSync(path, Buffer.alloc(100));
    await expect(pull('app')).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    await pull('app');
  });
});

describe('find', () => {
  it('finds by name, digest and id, and says what to do otherwise', async () => {
    const image = await pull('app');
    const digits = image.id.slice('sha256:'.length);
    for (const text of [
      `${registry.host}/app`,
      `${registry.host}/app@${image.manifestDigest}`,
      digits,
      digits.slice(0, 12),
      image.id,
    ]) {
      expect((await store.find(text)).manifestDigest).toBe(image.manifestDigest);
    }
    await expect(store.find('nothing')).rejects.toMatchObject({
      hint: 'tvmm image ls shows all images; get it with: tvmm image pull nothing',
    });
    await expect(store.find('No!')).rejects.toThrow('no image name');
  });

  it('notices damage', async () => {
    const image = await pull('app');
    writeFileSync(store.blobPath(image.id), '{}');
    await expect(store.find(`${registry.host}/app`)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    writeFileSync(store.path('images/broken.json'), '{');
    expect(await store.records()).toHaveLength(1);
  });
});

describe('removing', () => {
  const use = (id: string, image: { manifestDigest: string; chain: readonly string[] }) => {
    mkdirSync(store.path('rootfs', id));
    writeFileSync(
      store.path('rootfs', id, 'rootfs.json'),
      JSON.stringify({ manifest: image.manifestDigest, chain: image.chain }),
    );
  };

  it('takes what only the image used', async () => {
    await pull('app');
    await pull('other');
    const removed = await removeImage(store, `${registry.host}/app`);
    expect(removed).toMatchObject({ names: [`${registry.host}/app:latest`], layers: 1 });
    expect(layers()).toBe(2);
    await removeImage(store, `${registry.host}/other`);
    expect(layers()).toBe(0);
    expect(readdirSync(store.path('blobs/sha256'))).toEqual([]);
  });

  it('refuses while a container uses the image, and spares its layers when forced', async () => {
    const image = await pull('app');
    use('c1', image);
    await expect(removeImage(store, image.id.slice(7, 19))).rejects.toThrow('in use by c1');
    await removeImage(store, `${registry.host}/app`, { force: true });
    expect(layers()).toBe(2);
    rmSync(store.path('rootfs/c1'), { recursive: true });
    await pruneImages(store);
    expect(layers()).toBe(0);
  });

  it('takes only the name while there is another', async () => {
    const image = await pull('app');
    await store.tag('localhost/copy:1', image.manifestDigest);
    await expect(removeImage(store, image.id)).rejects.toMatchObject({ code: 'IMAGE_HAS_NAMES' });
    await removeImage(store, 'localhost/copy:1');
    expect(layers()).toBe(2);
  });

  it('prunes unused images, least recently used first, until the store is small enough', async () => {
    const app = await pull('app');
    await pull('other');
    const path = (name: string) => store.path('images', `${digestOf(name).slice(7)}.json`);
    utimesSync(path(`${registry.host}/app:latest`), 1000, 1000);
    utimesSync(path(`${registry.host}/other:latest`), 500, 500);
    expect(await pruneImages(store, { keepBytes: 2 ** 30 })).toMatchObject({ names: [] });
    await store.touch(`${registry.host}/other:latest`);
    expect((await pruneImages(store, { keepBytes: 1200, unusedForMs: 60_000 })).names).toEqual([
      `${registry.host}/app:latest`,
    ]);
    await pull('app');
    use('c1', app);
    expect((await pruneImages(store, { all: true })).names).toEqual([`${registry.host}/other:latest`]);
  });
});

describe('Lock', () => {
  it('keeps others out until it is given back, in this process and in others', async () => {
    const path = store.path('locks/test');
    using shared = await Lock.acquire(path, 'shared');
    using second = await Lock.acquire(path, 'shared');
    expect(Lock.tryAcquire(path, 'exclusive')).toBeUndefined();
    await expect(Lock.acquire(path, 'exclusive', { waitMs: 20, what: 'the test' })).rejects.toThrow(
      'the test is in use',
    );
    shared[Symbol.dispose]();
    second[Symbol.dispose]();
    const other = spawn('flock', ['-x', path, 'sh', '-c', 'echo locked; read line'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => other.stdout.once('data', resolve));
    expect(Lock.tryAcquire(path, 'shared')).toBeUndefined();
    const waiting = Lock.acquire(path, 'exclusive');
    other.stdin.end('go\n');
    using lock = await waiting;
    expect(lock).toBeInstanceOf(Lock);
  });
});

describe('save and load', () => {
  async function saved(format: 'oci-archive' | 'docker-archive', names: string[]): Promise<Buffer> {
    const stream = new PassThrough();
    const chunks: Buffer[] = [];
    stream.on('data', (chunk) => chunks.push(chunk));
    await saveImages(store, names, stream, format);
    return Buffer.concat(chunks);
  }
  const input = (bytes: Buffer, what = 'my-image.tar') => ({
    what,
    stream: (async function* () {
      for (let at = 0; at < bytes.length; at += 777) yield bytes.subarray(at, at + 777);
    })(),
  });

  it.each(['oci-archive', 'docker-archive'] as const)(
    'give the same images back through %s, names included',
    async (format) => {
      const image = await pull('app');
      await pull('other');
      const archive = await saved(format, [`${registry.host}/app`, `${registry.host}/other`]);
      expect((await saved(format, [`${registry.host}/app`, `${registry.host}/other`])).equals(archive)).toBe(
        true,
      );
      using second = temporaryStore();
      const loaded = await loadImages(second.store, input(archive));
      expect(loaded.map(({ name }) => name)).toEqual([
        `${registry.host}/app:latest`,
        `${registry.host}/other:latest`,
      ]);
      expect(loaded[0]).toMatchObject({ manifestDigest: image.manifestDigest, chain: image.chain });
      expect(readdirSync(second.store.path('layers'))).toHaveLength(3);
      expect(readdirSync(second.store.path('tmp'))).toEqual([]);
    },
  );

  it('go through a folder, which must be empty', async () => {
    const image = await pull('app');
    const folder = join(held.folder, 'layout');
    await saveImages(store, [`${registry.host}/app`], folder, 'oci-dir');
    await expect(saveImages(store, [`${registry.host}/app`], folder, 'oci-dir')).rejects.toThrow('not empty');
    using second = temporaryStore();
    const [loaded] = await loadImages(second.store, folder, { name: 'renamed' });
    expect(loaded).toMatchObject({
      manifestDigest: image.manifestDigest,
      name: 'docker.io/library/renamed:latest',
    });
    rmSync(join(folder, 'blobs', digestOf(APP.packed).replace(':', '/')));
    using third = temporaryStore();
    await expect(loadImages(third.store, folder)).rejects.toThrow('lacks the blob');
  });

  it('read old archives of Docker: plain layers, links between them, several images', async () => {
    const tar = Buffer.concat([tarFile({ name: 'x' }, Buffer.from('y')), tarEnd()]);
    const config = (n: number) =>
      Buffer.from(
        JSON.stringify({
          os: 'linux',
          architecture: 'amd64',
          n,
          rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
        }),
      );
    const archive = Buffer.concat([
      tarFile({ name: 'a/layer.tar' }, tar),
      (await import('./tar-writer.js')).tarHeader({
        name: 'b/layer.tar',
        type: 'symlink',
        linkName: '../a/layer.tar',
      }),
      tarFile({ name: 'c1.json' }, config(1)),
      tarFile({ name: 'c2.json' }, config(2)),
      tarFile(
        { name: 'manifest.json' },
        Buffer.from(
          JSON.stringify([
            { Config: 'c1.json', RepoTags: ['one:1', 'uno:1'], Layers: ['a/layer.tar'] },
            { Config: 'c2.json', RepoTags: null, Layers: ['b/layer.tar'] },
          ]),
        ),
      ),
      tarEnd(),
    ]);
    const loaded = await loadImages(store, input(archive));
    expect(loaded.map(({ id }) => id)).toEqual([digestOf(config(1)), digestOf(config(2))]);
    expect((await store.records()).map(({ name }) => name)).toEqual([
      'docker.io/library/one:1',
      'docker.io/library/uno:1',
      'localhost/my-image:latest',
    ]);
  });

  it('refuse archives that are no image, are damaged or lie', async () => {
    const load = (bytes: Buffer) => loadImages(store, input(bytes));
    await expect(load(Buffer.alloc(0))).rejects.toThrow('empty');
    await expect(load(Buffer.from('hello'))).rejects.toThrow('middle of an entry');
    await expect(load(tarEnd())).rejects.toThrow('neither');
    await expect(
      load(Buffer.concat([tarFile({ name: '../x' }, Buffer.from('y')), tarEnd()])),
    ).rejects.toThrow('upwards');
    await pull('app');
    const archive = await saved('oci-archive', [`${registry.host}/app`]);
    const at = archive.indexOf(APP.packed);
    archive[at + 12] = (archive[at + 12] ?? 0) ^ 1;
    using second = temporaryStore();
    await expect(loadImages(second.store, input(archive))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    const manifest = tarFile(
      { name: 'manifest.json' },
      Buffer.from('[{"Config":"/etc/passwd","Layers":[]}]'),
    );
    await expect(load(Buffer.concat([manifest, tarEnd()]))).rejects.toThrow('no such file');
  });

  it('say whose fault it is when the reader goes away', async () => {
    await pull('app');
    const stream = new PassThrough({ highWaterMark: 1 });
    setImmediate(() => stream.destroy(new Error('the reader has gone')));
    await expect(saveImages(store, [`${registry.host}/app`], stream, 'oci-archive')).rejects.toThrow('gone');
  });
});

describe('other tools', () => {
  it('skopeo reads what is saved, and what it makes is loaded', async () => {
    await pull('app');
    const archive = join(held.folder, 'saved.tar');
    const { createWriteStream } = await import('node:fs');
    const stream = createWriteStream(archive);
    await saveImages(store, [`${registry.host}/app`], stream, 'docker-archive');
    await new Promise((resolve) => stream.end(resolve));
    for (const [source, target] of [
      [`docker-archive:${archive}`, `docker-archive:${join(held.folder, 'd.tar')}:made/app:v1`],
      [`oci-archive:${archive}`, `oci:${join(held.folder, 'oci')}:v2`],
    ] as const) {
      const copied = spawnSync(
        'skopeo',
        ['--insecure-policy', '--tmpdir', tmpdir(), 'copy', source, target],
        { encoding: 'utf8' },
      );
      expect(copied.stderr).toBe('');
    }
    using second = temporaryStore();
    const [one] = await loadImages(second.store, join(held.folder, 'd.tar'));
    const [two] = await loadImages(second.store, join(held.folder, 'oci'));
    expect(one?.name).toBe('docker.io/made/app:v1');
    expect(two?.name).toBe('localhost/oci:v2');
    expect(one?.chain).toEqual([parseDigest(BASE.diffId, ''), digestOf(`${BASE.diffId} ${APP.diffId}`)]);
    expect(two?.chain).toEqual(one?.chain);
    expect(existsSync(diffFolder(second.store, one?.chain[1] ?? digestOf('')))).toBe(true);
  });
});
