import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sha256, TestRegistry } from '../../../../test/support/registry.js';
import { TvmmError } from '../../../sys/errors.js';
import { parseDigest } from '../digest.js';
import type { Descriptor } from '../manifest.js';
import { parseReference } from '../reference.js';
import { parseChallenges } from './challenge.js';
import { RegistryClient, type RegistryOptions } from './client.js';
import { credentialsFor } from './credentials.js';
import { downloadBlob } from './download.js';
import { proxyFor } from './proxy.js';

const CONTENT = randomBytes(300_000);
const FAST = { retryMs: 1, idleMs: 2000, environment: { HOME: '/nonexistent' } };
let folder = '';
let registry: TestRegistry;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-registry-'));
  registry = await TestRegistry.start();
  registry.addManifest('a/b', 'v1', 'application/vnd.oci.image.manifest.v1+json', { schemaVersion: 2 });
});
afterEach(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

function client(options: RegistryOptions = {}, name = 'a/b:v1', host = registry.host): RegistryClient {
  return new RegistryClient(parseReference(`${host}/${name}`), { ...FAST, ...options });
}

async function manifest(options: RegistryOptions = {}, name?: string, host?: string): Promise<string> {
  using one = client(options, name, host);
  return (await one.manifest()).bytes.toString();
}

function descriptorOf(bytes: Buffer): Descriptor {
  return { mediaType: '', digest: parseDigest(sha256(bytes), 'test'), size: bytes.length };
}

async function download(descriptor: Descriptor): Promise<Buffer> {
  using one = client();
  await downloadBlob(one, descriptor, join(folder, 'blob'));
  return readFileSync(join(folder, 'blob'));
}

/** Lets blob requests misbehave: the nth gets the nth answer, then they are as usual. */
function blobAnswers(...answers: ((response: ServerResponse, request: IncomingMessage) => void)[]): void {
  registry.behaviour.hook = (request, response, url) => {
    const answer = url.pathname.includes('/blobs/') ? answers.shift() : undefined;
    answer?.(response, request);
    return answer !== undefined;
  };
}

describe('RegistryClient', () => {
  it('fetches a manifest and checks it', async () => {
    expect(await manifest()).toBe('{"schemaVersion":2}');
    const digest = sha256('{"schemaVersion":2}');
    expect(await manifest({}, `a/b@${digest}`)).toBe('{"schemaVersion":2}');
  });

  it('asks for a token, with or without a password, and once only', async () => {
    registry.behaviour.auth = 'bearer';
    expect(await manifest()).toContain('schemaVersion');
    registry.behaviour.credentials = 'me:secret';
    await expect(manifest()).rejects.toThrow('does not let you pull');
    expect(
      await manifest({ credentials: { kind: 'password', username: 'me', password: 'secret' } }),
    ).toContain('2');
    registry.requests.length = 0;
    using one = client({ credentials: { kind: 'password', username: 'me', password: 'secret' } });
    await Promise.all([one.manifest(), one.manifest(), one.manifest()]);
    await one.manifest();
    expect(registry.requests.filter((request) => request === 'GET /token').length).toBeLessThanOrEqual(3);
  });

  it('uses a refresh token by POST', async () => {
    registry.behaviour.auth = 'bearer';
    let form = '';
    registry.behaviour.hook = (request, response, url) => {
      if (url.pathname !== '/token') return false;
      request.on('data', (chunk) => {
        form += chunk;
      });
      request.on('end', () => response.end(JSON.stringify({ access_token: 'let-me-in' })));
      return true;
    };
    expect(await manifest({ credentials: { kind: 'identity', token: 'r+t' } })).toContain('2');
    expect(Object.fromEntries(new URLSearchParams(form))).toMatchObject({
      refresh_token: 'r+t',
      grant_type: 'refresh_token',
    });
  });

  it('uses a password as it is where the registry wants that, from the user’s files', async () => {
    registry.behaviour.auth = 'basic';
    registry.behaviour.credentials = 'me:se:cret';
    const auth = Buffer.from('me:se:cret').toString('base64');
    writeFileSync(join(folder, 'auth.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }));
    expect(await manifest({ environment: { REGISTRY_AUTH_FILE: join(folder, 'auth.json') } })).toContain('2');
  });

  it('tries again after 503, 429 and a broken connection, but not after 404', async () => {
    let count = 0;
    registry.behaviour.hook = (request, response, url) => {
      if (!url.pathname.includes('/manifests/')) return false;
      count++;
      if (count === 1) response.writeHead(503).end();
      else if (count === 2) response.writeHead(429, { 'retry-after': '0' }).end();
      else if (count === 3) request.socket.destroy();
      return count <= 3;
    };
    expect(await manifest()).toContain('2');
    expect(count).toBe(4);
    await expect(manifest({}, 'a/b:other')).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
    expect(count).toBe(5);
  });

  it('gives up at some time', async () => {
    registry.behaviour.hook = (_, response, url) => {
      if (url.pathname === '/v2/') return false;
      response.writeHead(500).end('{"errors":[{"message":"on fire\\u001b[31m"}]}');
      return true;
    };
    await expect(manifest()).rejects.toThrow(/answers 500: on fire \[31m$/);
  });

  it('refuses giant and endless manifests, and wrong digests', async () => {
    registry.behaviour.hook = (request, response, url) => {
      if (!url.pathname.includes('/manifests/')) return false;
      if (url.pathname.endsWith('giant')) response.writeHead(200, { 'content-length': '99999999999' });
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65536))) {}
      };
      response.on('drain', more);
      request.on('close', () => response.destroy());
      more();
      return true;
    };
    await expect(manifest({}, 'a/b:giant')).rejects.toThrow('larger than');
    await expect(manifest({}, 'a/b:endless')).rejects.toThrow('larger than');
    registry.behaviour.hook = (_, response, url) => {
      if (!url.pathname.includes('/manifests/')) return false;
      response.writeHead(200, { 'docker-content-digest': sha256('other') }).end('{}');
      return true;
    };
    await expect(manifest()).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    await expect(manifest({}, `a/b@${sha256('mine')}`)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  it('follows redirects, without the password to another origin, and not for ever', async () => {
    await using other = await TestRegistry.start();
    registry.behaviour = { auth: 'basic', credentials: 'me:secret' };
    const { digest, size } = other.addBlob(CONTENT);
    registry.behaviour.hook = (_, response, url) => {
      if (!url.pathname.includes('/blobs/')) return false;
      response.writeHead(307, { location: `http://${other.host}${url.pathname}` }).end();
      return true;
    };
    using one = client({ credentials: { kind: 'password', username: 'me', password: 'secret' } });
    await downloadBlob(one, { mediaType: '', digest: parseDigest(digest, ''), size }, join(folder, 'blob'));
    expect(readFileSync(join(folder, 'blob')).equals(CONTENT)).toBe(true);
    const path = `/v2/a/b/blobs/${digest}`;
    expect(registry.headers.get(path)?.authorization).toMatch(/^Basic/);
    expect(other.headers.get(path)?.authorization).toBeUndefined();
    registry.behaviour.hook = (_, response, url) => {
      if (!url.pathname.includes('/manifests/')) return false;
      response
        .writeHead(302, { location: url.pathname.endsWith('file') ? 'file:///etc/passwd' : url.href })
        .end();
      return true;
    };
    await expect(one.manifest()).rejects.toThrow('redirects more than');
    await expect(manifest({}, 'a/b:file')).rejects.toThrow('no HTTP address');
  });

  it('stops when it is told to, and after a silence', async () => {
    registry.behaviour.hook = () => true;
    await expect(manifest({ signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
    using one = client({ idleMs: 30 });
    await expect(one.manifest()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  });

  it('names the server when there is none', async () => {
    await expect(manifest({}, 'a/b:v1', '127.0.0.1:1')).rejects.toThrow('127.0.0.1:1 cannot be reached');
  });

  it('speaks TLS, with a certificate of this machine’s own', async () => {
    const made = spawnSync('openssl', [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=localhost',
      '-keyout',
      join(folder, 'key'),
      '-out',
      join(folder, 'cert'),
    ]);
    expect(made.status).toBe(0);
    const [key, cert] = ['key', 'cert'].map((name) => readFileSync(join(folder, name), 'utf8'));
    await using secure = await TestRegistry.start({
      auth: 'bearer',
      tls: { key: key ?? '', cert: cert ?? '' },
    });
    secure.addManifest('a/b', 'v1', 'application/vnd.oci.image.manifest.v1+json', { schemaVersion: 2 });
    expect(await manifest({}, 'a/b:v1', secure.host)).toContain('2');
  });

  it('goes through a proxy: CONNECT for https, whole addresses for http', async () => {
    const seen: string[] = [];
    const proxy = createServer((request, response) => {
      seen.push(`${request.method} ${request.url} ${request.headers['proxy-authorization']}`);
      response.writeHead(200).end('{"schemaVersion":2}');
    });
    proxy.on('connect', (request, socket) => {
      seen.push(`CONNECT ${request.url}`);
      const upstream = connect(Number(registry.host.split(':')[1]), '127.0.0.1', () =>
        socket.write('HTTP/1.1 200 OK\r\n\r\n'),
      );
      upstream.pipe(socket).pipe(upstream);
      for (const end of [socket, upstream]) end.on('error', () => {});
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    try {
      const address = `http://u:p@127.0.0.1:${(proxy.address() as AddressInfo).port}`;
      const environment = { HTTP_PROXY: address, HTTPS_PROXY: address };
      // The plain registry behind the tunnel answers no TLS, so the client falls back to http as it may here.
      const text = await manifest({ environment, tlsVerify: false }, 'a/b:v1', 'registry.test:5000');
      expect(text).toContain('2');
      expect(seen[0]).toBe('CONNECT registry.test:5000');
      const auth = `Basic ${Buffer.from('u:p').toString('base64')}`;
      expect(seen).toContain(`GET http://registry.test:5000/v2/a/b/manifests/v1 ${auth}`);
    } finally {
      proxy.closeAllConnections();
      proxy.close();
    }
  });
});

describe('downloadBlob', () => {
  const descriptor = descriptorOf(CONTENT);
  beforeEach(() => void registry.addBlob(CONTENT));

  it('brings a blob', async () => {
    expect((await download(descriptor)).equals(CONTENT)).toBe(true);
  });

  it('goes on where a transfer broke off', async () => {
    blobAnswers((response, request) => {
      response.writeHead(200, { 'content-length': String(CONTENT.length) });
      response.write(CONTENT.subarray(0, 100_000), () => setImmediate(() => request.socket.destroy()));
    });
    expect((await download(descriptor)).equals(CONTENT)).toBe(true);
    expect(registry.headers.get(`/v2/a/b/blobs/${descriptor.digest}`)?.range).toMatch(/^bytes=[1-9]\d*-$/);
  });

  it('goes on where an earlier run stopped, and starts anew when that part was damaged', async () => {
    writeFileSync(join(folder, 'blob'), CONTENT.subarray(0, 1000));
    expect((await download(descriptor)).equals(CONTENT)).toBe(true);
    writeFileSync(join(folder, 'blob'), Buffer.alloc(1000));
    expect((await download(descriptor)).equals(CONTENT)).toBe(true);
    writeFileSync(join(folder, 'blob'), Buffer.alloc(CONTENT.length + 5));
    expect((await download(descriptor)).equals(CONTENT)).toBe(true);
  });

  it('starts anew where the server knows no ranges', async () => {
    writeFileSync(join(folder, 'blob'), CONTENT.subarray(0, 1000));
    blobAnswers((response) => response.writeHead(200).end(CONTENT));
    expect((await download(descriptor)).equals(CONTENT)).toBe(true);
    writeFileSync(join(folder, 'blob'), CONTENT.subarray(0, 1000));
    blobAnswers((response) => response.writeHead(416).end());
    expect((await download(descriptor)).equals(CONTENT)).toBe(true);
  });

  it('refuses wrong bytes, wrong sizes, endless bodies and other ranges', async () => {
    const wrong = randomBytes(CONTENT.length);
    blobAnswers((response) => response.end(wrong));
    await expect(download(descriptor)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    blobAnswers((response) => response.writeHead(200, { 'content-length': '5' }).end('hello'));
    await expect(download(descriptor)).rejects.toThrow('were promised');
    blobAnswers((response) => {
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65536))) {}
      };
      response.on('drain', more);
      more();
    });
    await expect(download(descriptor)).rejects.toMatchObject({ code: 'BLOB_TOO_LONG' });
    writeFileSync(join(folder, 'blob'), CONTENT.subarray(0, 1000));
    blobAnswers((response) =>
      response.writeHead(206, { 'content-range': `bytes 0-1/${CONTENT.length}` }).end('xx'),
    );
    await expect(download(descriptor)).rejects.toThrow('another range');
    blobAnswers((response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('xx'));
    await expect(download(descriptor)).rejects.toThrow('nobody asked for');
  });

  it('tries a blob that ends early again, but not for ever', async () => {
    const short = (response: ServerResponse) =>
      void response.writeHead(200, { 'transfer-encoding': 'chunked' }).end(CONTENT.subarray(0, 10));
    blobAnswers(short, short);
    expect((await download(descriptor)).equals(CONTENT)).toBe(true);
    rmSync(join(folder, 'blob'));
    registry.behaviour.hook = (_, response, url) => {
      if (!url.pathname.includes('/blobs/')) return false;
      short(response);
      return true;
    };
    await expect(download(descriptor)).rejects.toMatchObject({ code: 'BLOB_SHORT' });
  });
});

describe('parseChallenges', () => {
  it('reads what registries send', () => {
    const [one, two] = parseChallenges(
      'Bearer realm="https://a.test/t",service="a \\"b\\"",scope=x, Basic realm="r"',
    );
    expect(one).toEqual({
      scheme: 'bearer',
      parameters: new Map([
        ['realm', 'https://a.test/t'],
        ['service', 'a "b"'],
        ['scope', 'x'],
      ]),
    });
    expect(two?.scheme).toBe('basic');
  });

  it('answers any text with a list', () => {
    fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseChallenges(text))));
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z",=\\ ]{0,60}$/), (text) => Array.isArray(parseChallenges(text))),
    );
  });
});

describe('proxyFor', () => {
  const find = (url: string, environment: Record<string, string>) =>
    proxyFor(new URL(url), environment)?.host;

  it('follows the environment', () => {
    expect(find('https://r.test/', { HTTPS_PROXY: 'http://p:1' })).toBe('p:1');
    expect(find('https://r.test/', { https_proxy: 'p:1', HTTPS_PROXY: 'http://q:1' })).toBe('p:1');
    expect(find('http://r.test/', { HTTPS_PROXY: 'http://p:1' })).toBeUndefined();
    expect(find('http://r.test/', { HTTP_PROXY: 'http://p:1', REQUEST_METHOD: 'GET' })).toBeUndefined();
    expect(find('https://127.0.0.1/', { ALL_PROXY: 'http://p:1' })).toBeUndefined();
    for (const list of ['r.test', '.test', '*.test', 'x, R.TEST', 'r.test:443', '*']) {
      expect(find('https://r.test/', { ALL_PROXY: 'http://p:1', NO_PROXY: list })).toBeUndefined();
    }
    for (const list of ['test.r', 'r.test:80', 'xr.test', '']) {
      expect(find('https://r.test/', { ALL_PROXY: 'http://p:1', NO_PROXY: list })).toBe('p:1');
    }
    expect(() => find('https://r.test/', { HTTPS_PROXY: 'socks5://p' })).toThrow(TvmmError);
  });
});

describe('credentialsFor', () => {
  it('takes the most specific entry, then the host, then the helper', async () => {
    mkdirSync(join(folder, '.docker'));
    const auth = (name: string) => ({ auth: Buffer.from(`${name}:x`).toString('base64') });
    const helper = join(folder, 'docker-credential-test');
    writeFileSync(
      helper,
      '#!/bin/sh\nread host\n[ "$host" = r3.test ] || { echo "credentials not found"; exit 1; }\necho \'{"Username":"helped","Secret":"s"}\'\n',
    );
    chmodSync(helper, 0o755);
    writeFileSync(
      join(folder, '.docker/config.json'),
      JSON.stringify({
        auths: {
          'https://r.test/v2/': auth('host'),
          'r.test/team': auth('team'),
          'https://index.docker.io/v1/': auth('hub'),
          'r2.test': {},
        },
        credHelpers: { 'r3.test': 'test', 'r4.test': 'missing', 'r5.test': '../../evil' },
      }),
    );
    const path = process.env.PATH;
    process.env.PATH = `${folder}:${path}`;
    try {
      const user = async (registry: string, repository = 'x') => {
        const found = await credentialsFor(registry, repository, { HOME: folder });
        return found?.kind === 'password' ? found.username : found;
      };
      expect(await user('r.test', 'team/app')).toBe('team');
      expect(await user('r.test', 'teams/app')).toBe('host');
      expect(await user('docker.io', 'library/debian')).toBe('hub');
      expect(await user('r2.test')).toBeUndefined();
      expect(await user('r3.test')).toBe('helped');
      await expect(user('r4.test')).rejects.toThrow('cannot be run');
      await expect(user('r5.test')).rejects.toThrow('not the name');
    } finally {
      process.env.PATH = path;
    }
  });

  it('refuses files that it cannot read', async () => {
    writeFileSync(join(folder, 'auth.json'), '{');
    await expect(
      credentialsFor('r.test', 'x', { REGISTRY_AUTH_FILE: join(folder, 'auth.json') }),
    ).rejects.toThrow('not valid JSON');
    await expect(credentialsFor('r.test', 'x', { REGISTRY_AUTH_FILE: folder })).rejects.toThrow(
      'cannot be read',
    );
  });
});
