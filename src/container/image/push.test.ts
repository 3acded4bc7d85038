import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dockerArchive } from '../../../test/support/engine-image.js';
import { TestRegistry } from '../../../test/support/registry.js';
import { loadImages } from './load.js';
import { pullImage } from './pull.js';
import { pushImage } from './push.js';
import { forgetLogin, saveLogin } from './registry/auth-file.js';
import { RegistryClient } from './registry/client.js';
import { credentialsFor } from './registry/credentials.js';
import { ImageStore } from './store.js';
import { tarEnd, tarFile } from './tar-writer.js';

const CREDENTIALS = { kind: 'password', username: 'me', password: 'secret' } as const;
let folder = '';
let registry: TestRegistry;
let store: ImageStore;
const options = { retryMs: 1, idleMs: 2000, environment: { HOME: '/nonexistent' } };

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-push-'));
  registry = await TestRegistry.start();
  store = ImageStore.open(join(folder, 'store'));
  const layer = Buffer.concat([tarFile({ name: 'file' }, Buffer.alloc(200_000, 'x')), tarEnd()]);
  const archive = dockerArchive('app:1', { Cmd: ['true'] }, layer);
  await loadImages(store, { stream: Readable.from([archive]), what: 'a test' });
});
afterEach(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const target = () => `${registry.host}/team/app:2`;
const puts = () => registry.requests.filter((one) => one.startsWith('PUT')).map((one) => one.split('/')[2]);

describe('pushing an image', () => {
  it('uploads what the registry lacks, and only that; what comes back is the same image', async () => {
    const digest = await pushImage(store, 'app:1', target(), options);
    expect(puts()).toEqual(['upload', 'upload', 'team']);
    registry.requests.length = 0;
    expect(await pushImage(store, 'app:1', `${registry.host}/team/app:3`, options)).toBe(digest);
    expect(puts()).toEqual(['team']);
    const other = ImageStore.open(join(folder, 'other'));
    const image = await pullImage(other, target(), options);
    expect(image.manifestDigest).toBe(digest);
    expect(image.id).toBe((await store.find('app:1')).id);
  });

  it('asks for a token that may push', async () => {
    registry.behaviour = { auth: 'bearer', credentials: 'me:secret' };
    await expect(pushImage(store, 'app:1', target(), options)).rejects.toThrow(
      'does not let you push team/app',
    );
    await pushImage(store, 'app:1', target(), { ...options, credentials: CREDENTIALS });
  });

  it('tries again where the connection breaks in the middle of a layer, or the server has a bad moment', async () => {
    let breaks = 2;
    registry.behaviour.hook = (request, response) => {
      if (request.method !== 'PUT' || breaks === 0) return false;
      breaks--;
      if (breaks === 0) response.writeHead(503).end();
      else request.once('data', () => request.socket.destroy());
      return true;
    };
    await pushImage(store, 'app:1', target(), options);
    expect(registry.manifests.has('team/app/2')).toBe(true);
  });

  it.each([
    ['no address for the layer', { status: 202, headers: {} }, 'does not say where the layer goes'],
    ['an address that is none', { status: 202, headers: { location: 'http://[' } }, 'does not say where'],
    ['a status that means nothing', { status: 200, headers: {} }, 'answers 200'],
  ])('refuses %s', async (_what, { status, headers }, problem) => {
    registry.behaviour.hook = (request, response) => {
      if (request.method !== 'POST') return false;
      response.writeHead(status, headers).end();
      return true;
    };
    await expect(pushImage(store, 'app:1', target(), options)).rejects.toThrow(problem);
  });

  it('sends no password to another host that a layer is to go to', async () => {
    await using elsewhere = await TestRegistry.start();
    registry.behaviour = { auth: 'basic', credentials: 'me:secret' };
    registry.behaviour.hook = (request, response) => {
      if (request.method !== 'POST') return false;
      response.writeHead(202, { location: `http://${elsewhere.host}/v2/upload/1` }).end();
      return true;
    };
    await expect(
      pushImage(store, 'app:1', target(), { ...options, credentials: CREDENTIALS }),
    ).rejects.toThrow();
    expect(elsewhere.requests).toContain('PUT /v2/upload/1');
    expect(elsewhere.headers.get('/v2/upload/1')?.authorization).toBeUndefined();
  });

  it('refuses to push under the digest of another image', async () => {
    const name = `${registry.host}/team/app@sha256:${'0'.repeat(64)}`;
    await expect(pushImage(store, 'app:1', name, options)).rejects.toThrow('is another image');
  });
});

describe('logging in', () => {
  const login = async (password: string) => {
    using client = new RegistryClient(
      { registry: registry.host, repository: '' },
      { ...options, access: 'login', credentials: { ...CREDENTIALS, password } },
    );
    await client.login();
  };

  it.each(['basic', 'bearer'] as const)(
    'finds out whether the registry takes the password (%s)',
    async (auth) => {
      registry.behaviour = { auth, credentials: 'me:secret' };
      await login('secret');
      await expect(login('wrong')).rejects.toThrow('does not take this user name and password');
    },
  );

  it('keeps the password for its owner alone, beside what else is in the file, until it logs out', async () => {
    const file = join(folder, 'config.json');
    const environment = { HOME: folder, DOCKER_CONFIG: folder };
    writeFileSync(
      file,
      JSON.stringify({ auths: { 'other.example': { auth: 'YTpi' } }, HttpHeaders: { a: 'b' } }),
    );
    expect(await saveLogin('registry.example:5000', CREDENTIALS, environment)).toBe(file);
    await saveLogin('docker.io', { ...CREDENTIALS, password: 'hub' }, environment);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await credentialsFor('registry.example:5000', 'team/app', environment)).toEqual(CREDENTIALS);
    expect(await credentialsFor('docker.io', 'library/x', environment)).toMatchObject({ password: 'hub' });
    expect(await forgetLogin('registry.example:5000', environment)).toEqual([file]);
    expect(await forgetLogin('registry.example:5000', environment)).toEqual([]);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ HttpHeaders: { a: 'b' } });
    await forgetLogin(undefined, environment);
    expect(await credentialsFor('other.example', 'x', environment)).toBeUndefined();
  });

  it('leaves a file alone that is not what it should be', async () => {
    const file = join(folder, 'config.json');
    writeFileSync(file, '{"auths": []}');
    await expect(
      saveLogin('a.example', CREDENTIALS, { HOME: folder, DOCKER_CONFIG: folder }),
    ).rejects.toThrow(file);
    expect(readFileSync(file, 'utf8')).toBe('{"auths": []}');
  });
});
