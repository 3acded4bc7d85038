/**
 * Images that somebody made to do harm, and registries that help them: each attack was tried before it was refused. What single parsers refuse
 * stands beside them.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  dir,
  type Entry,
  file,
  layerTar,
  link,
  packedLayer,
  temporaryStore,
} from '../../../test/support/images.js';
import { TestRegistry } from '../../../test/support/registry.js';
import { lgetxattr } from '../../sys/at.js';
import { pruneImages, removeImage } from './collect.js';
import { digestOf } from './digest.js';
import { diffFolder } from './layers.js';
import { loadImages } from './load.js';
import { pullImage } from './pull.js';
import { parseReference } from './reference.js';
import { RegistryClient } from './registry/client.js';
import type { ImageStore } from './store.js';
import { tarEnd, tarFile, tarHeader } from './tar-writer.js';
import { unpackLayer } from './unpack.js';

const FAST = { retryMs: 1, environment: { HOME: '/nonexistent' } };
const PASSWORD = { kind: 'password', username: 'me', password: 'secret' } as const;

let held: ReturnType<typeof temporaryStore>;
let store: ImageStore;
let registry: TestRegistry;
beforeEach(async () => {
  held = temporaryStore();
  store = held.store;
  registry = await TestRegistry.start();
});
afterEach(async () => {
  await registry[Symbol.asyncDispose]();
  held[Symbol.dispose]();
});

const pull = (name: string) => pullImage(store, `${registry.host}/${name}`, FAST);

describe('an image', () => {
  it('does not get at the layers of another by naming them in its configuration', async () => {
    const secret = packedLayer([file('secret', 'of another image')]);
    registry.addImage('private', 'latest', [secret]);
    await pull('private');
    const junk = packedLayer([file('junk')]);
    // The manifest has a layer that anyone can make, the configuration says that it is the other's.
    registry.addImage('thief', 'latest', [{ packed: junk.packed, diffId: secret.diffId }]);
    await expect(pull('thief')).rejects.toThrow('the unpacked layer has the digest');
    expect((await store.records()).map(({ name }) => name)).toEqual([`${registry.host}/private:latest`]);
    // The same archive packed otherwise is no theft, and looked at once.
    const again = {
      packed: gzipSync(layerTar([file('secret', 'of another image')]), { level: 1 }),
      diffId: secret.diffId,
    };
    expect(again.packed.equals(secret.packed)).toBe(false);
    registry.addImage('twin', 'latest', [again]);
    await pull('twin');
    const [layer = ''] = readdirSync(store.path('layers'));
    expect(readdirSync(store.path('layers', layer)).filter((name) => name.startsWith('from-'))).toHaveLength(
      2,
    );
  });

  it('plants no attribute by which overlayfs would look elsewhere, for no kind of entry', async () => {
    const names = [
      'trusted.overlay.opaque',
      'trusted.overlay.redirect',
      'trusted.overlay.metacopy',
      'trusted.overlay.origin',
      'user.overlay.opaque',
      'user.overlay.redirect',
      'user.overlay.metacopy',
      'trusted.overlay.overlay.redirect',
      'security.selinux',
      'security.ima',
      'user.kept',
    ];
    const xattrs = new Map(names.map((name) => [name, Buffer.from('/etc')]));
    const entries: Entry[] = [dir('folder', { xattrs }), { ...file('file'), xattrs }, dir('.', { xattrs })];
    registry.addImage('marks', 'latest', [packedLayer(entries)]);
    const { chain } = await pull('marks');
    const [chainId = digestOf('')] = chain;
    for (const path of ['', 'folder', 'file'])
      for (const name of names)
        expect(lgetxattr(join(diffFolder(store, chainId), path), name)?.length, `${path}: ${name}`).toBe(
          name === 'user.kept' ? 4 : undefined,
        );
  });

  it('whose folders are nested deeper than any path reaches can be removed', async () => {
    const step = `${'d'.repeat(200)}/`.repeat(15);
    const entries: Entry[] = [dir(step), link('one', step), dir(`one/${step}`), link('two', `one/${step}`)];
    registry.addImage('deep', 'latest', [packedLayer([...entries, file('two/bottom')])]);
    await pull('deep');
    await removeImage(store, `${registry.host}/deep`);
    await pruneImages(store);
    expect(readdirSync(store.path('layers'))).toEqual([]);
    expect(readdirSync(store.path('tmp'))).toEqual([]);
  });

  it('says nothing to the terminal in the messages that refuse it', async () => {
    const evil = '\u001b]0;owned\u0007\u009b2J\u202e\nhint: run me';
    const config = {
      os: 'linux',
      architecture: 'amd64',
      config: { ExposedPorts: { [evil]: {} } },
      rootfs: { type: 'layers', diff_ids: [] },
    };
    const descriptor = registry.addBlob(Buffer.from(JSON.stringify(config)));
    const type = 'application/vnd.oci.image.manifest.v1+json';
    const layer = { mediaType: evil, digest: digestOf('x'), size: 1 };
    registry.addManifest('ports', 'latest', type, { schemaVersion: 2, config: descriptor, layers: [] });
    registry.addManifest('layers', 'latest', type, { schemaVersion: 2, config: descriptor, layers: [layer] });
    registry.addManifest('type', 'latest', type, {
      schemaVersion: 2,
      mediaType: evil,
      config: descriptor,
      layers: [],
    });
    registry.addImage('entry', 'latest', [packedLayer([file(`../${Buffer.from(evil).toString('latin1')}`)])]);
    for (const name of ['ports', 'layers', 'type', 'entry', `Bad${evil}`]) {
      const error: unknown = await pull(name).catch((one: unknown) => one);
      expect(error, name).toBeInstanceOf(Error);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
      expect(String(error), name).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/);
    }
  });
});

describe('a layer', () => {
  it('does not fill the memory with names, neither with many nor with what stands behind long ones', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tvmm-names-'));
    const unpack = (parts: readonly Buffer[], maxNames = 2 ** 20) =>
      unpackLayer(
        (async function* () {
          yield* parts;
        })(),
        folder,
        { whiteouts: 'apply', privileged: true, maxBytes: 2 ** 30, maxNames },
      );
    const padded = Array.from({ length: 300 }, (_, i) => {
      const body = Buffer.alloc(2 ** 17, 'x');
      body.write(`${i}${'y'.repeat(190)}\0`);
      return Buffer.concat([gnuLongName(body), tarHeader({ name: 'x', type: 'directory' })]);
    });
    try {
      const before = process.memoryUsage().heapUsed;
      await unpack(padded);
      expect(readdirSync(folder)).toHaveLength(300);
      expect(process.memoryUsage().heapUsed - before).toBeLessThan(24 * 2 ** 20);
      const many = Array.from({ length: 3000 }, (_, i) =>
        tarHeader({ name: `${'n'.repeat(200)}${i}`.slice(-100) }),
      );
      await expect(unpack(many, 2 ** 18)).rejects.toThrow('too many and too long');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

/** GNU's header for names that do not fit. */
function gnuLongName(body: Buffer): Buffer {
  const header = tarHeader({ name: '././@LongLink', size: body.length });
  header.write('L', 156);
  header.fill(' ', 148, 156);
  const sum = header.reduce((all, byte) => all + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return Buffer.concat([header, body]);
}

describe('a registry', () => {
  let thief: Server;
  const stolen: string[] = [];
  beforeEach(async () => {
    stolen.length = 0;
    thief = createServer((request, response) => {
      if (request.headers.authorization !== undefined) stolen.push(request.headers.authorization);
      const realm = `http://127.0.0.1:${(thief.address() as AddressInfo).port}/token`;
      if (request.url?.startsWith('/token') === true) response.end('{"token":"x"}');
      else response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="s"` }).end();
    });
    await new Promise<void>((done) => thief.listen(0, '127.0.0.1', done));
  });
  afterEach(() => {
    thief.closeAllConnections();
    thief.close();
  });
  const thiefUrl = () => `http://127.0.0.1:${(thief.address() as AddressInfo).port}`;

  const manifest = async () => {
    using client = new RegistryClient(parseReference(`${registry.host}/a/b:v1`), {
      ...FAST,
      credentials: PASSWORD,
    });
    return await client.manifest();
  };

  it('cannot have the password sent to a host that it redirects to and that asks for a token', async () => {
    for (const place of ['/v2/', '/v2/a/b/manifests/v1']) {
      registry.behaviour.hook = (_, response, url) => {
        if (url.pathname !== place) return false;
        response.writeHead(307, { location: `${thiefUrl()}/elsewhere` }).end();
        return true;
      };
      await expect(manifest(), place).rejects.toThrow();
      expect(stolen, place).toEqual([]);
    }
  });

  it('of this machine cannot have it sent in the clear to another one', async () => {
    registry.behaviour.hook = (_, response) => {
      response.writeHead(401, { 'www-authenticate': 'Bearer realm="http://tokens.example/token"' }).end();
      return true;
    };
    await expect(manifest()).rejects.toThrow('names no proper address for tokens');
  });

  it('is asked again neither at file:, nor at another scheme', async () => {
    for (const location of [
      'file:///etc/passwd',
      'ftp://127.0.0.1/x',
      'data:,x',
      'javascript:0',
      'http://',
    ]) {
      registry.behaviour.hook = (_, response, url) => {
        if (url.pathname === '/v2/') return false;
        response.writeHead(302, { location }).end();
        return true;
      };
      await expect(manifest(), location).rejects.toMatchObject({ code: 'REDIRECT_INVALID' });
    }
  });
});

describe('an archive that is loaded', () => {
  const layer = layerTar([file('x')]);
  const config = Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: 'amd64',
      config: {},
      rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
    }),
  );
  const twice = Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: 'amd64',
      config: {},
      rootfs: { type: 'layers', diff_ids: [digestOf(layer), digestOf(layer)] },
    }),
  );
  const manifestOf = (value: unknown) =>
    tarFile({ name: 'manifest.json' }, Buffer.from(JSON.stringify([value])));
  const load = (...parts: Buffer[]) => {
    const stream = (async function* () {
      yield Buffer.concat([...parts, tarEnd()]);
    })();
    return loadImages(store, { stream, what: 'hostile.tar' });
  };
  const CONFIG = tarFile({ name: 'config.json' }, config);
  const LAYER = tarFile({ name: 'layer.tar' }, layer);

  it.each([
    [
      'a layer above it',
      [CONFIG, LAYER],
      { Config: 'config.json', Layers: ['../layer.tar'] },
      'leads upwards',
    ],
    ['a layer of the host', [CONFIG], { Config: 'config.json', Layers: ['/etc/passwd'] }, 'no such file'],
    [
      'a layer that is a link to the host',
      [CONFIG, tarHeader({ name: 'layer.tar', type: 'symlink', linkName: '/etc/passwd' })],
      { Config: 'config.json', Layers: ['layer.tar'] },
      'no such file',
    ],
    [
      'a layer that is a link to itself',
      [CONFIG, tarHeader({ name: 'layer.tar', type: 'symlink', linkName: 'layer.tar' })],
      { Config: 'config.json', Layers: ['layer.tar'] },
      'no such file',
    ],
    ['no configuration', [LAYER], { Config: 'config.json', Layers: ['layer.tar'] }, 'no such file'],
    ['no layers', [CONFIG], { Config: 'config.json', Layers: [] }, '0 layers in its manifest and 1'],
    [
      'a name that climbs',
      [CONFIG, LAYER],
      { Config: 'config.json', RepoTags: ['../../x:1'], Layers: ['layer.tar'] },
      'no image name',
    ],
  ])('is refused with %s', async (_, parts, manifest, why) => {
    await expect(load(...parts, manifestOf(manifest))).rejects.toThrow(why);
    expect(await store.records()).toEqual([]);
    expect(readdirSync(store.path('tmp'))).toEqual([]);
  });

  it('may name the same layer twice', async () => {
    const [image] = await load(
      tarFile({ name: 'config.json' }, twice),
      LAYER,
      manifestOf({ Config: 'config.json', Layers: ['layer.tar', './layer.tar'] }),
    );
    expect(image?.chain).toHaveLength(2);
  });

  it('has digests that are digests, not paths', async () => {
    for (const digest of [
      'sha256:../../../../etc/passwd',
      'sha256:..',
      '../x',
      `sha256:${'A'.repeat(64)}`,
      `sha256:${'a'.repeat(63)}/`,
    ]) {
      const index = Buffer.from(
        JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType: '', digest, size: 10 }] }),
      );
      await expect(
        load(
          tarFile({ name: 'oci-layout' }, Buffer.from('{"imageLayoutVersion":"1.0.0"}')),
          tarFile({ name: 'index.json' }, index),
        ),
      ).rejects.toThrow('not a sha256 or sha512 digest');
    }
  });

  it('can be a folder that was unpacked, whose links lead nowhere else', async () => {
    const folder = join(held.folder, 'unpacked');
    const outside = join(held.folder, 'outside');
    for (const path of [folder, outside]) mkdirSync(path);
    writeFileSync(join(folder, 'config.json'), config);
    writeFileSync(join(folder, 'layer.tar'), layer);
    writeFileSync(join(outside, 'layer.tar'), layer);
    const write = (name: string) =>
      writeFileSync(
        join(folder, 'manifest.json'),
        JSON.stringify([{ Config: 'config.json', RepoTags: ['unpacked:1'], Layers: [name] }]),
      );
    symlinkSync(outside, join(folder, 'out'));
    write('out/layer.tar');
    await expect(loadImages(store, folder)).rejects.toThrow('no such file');
    write('layer.tar');
    const [image] = await loadImages(store, folder);
    const [chainId = digestOf('')] = image?.chain ?? [];
    expect(readFileSync(join(diffFolder(store, chainId), 'x'), 'utf8')).toBe('x');
    expect(existsSync(join(folder, 'layer.tar'))).toBe(true);
  });
});
