/** Container images as their users handle them: the built command line against a registry in this process, and against Debian's. */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { dir, file, packedLayer } from './support/images.js';
import { TestRegistry } from './support/registry.js';
import { CLI, tvmm } from './support/tvmm.js';

const BASE = packedLayer([dir('etc'), file('etc/os', 'base')]);
const APP = packedLayer([file('app', 'one')]);

let folder = '';
let registry: TestRegistry;
beforeAll(async () => {
  registry = await TestRegistry.start({ auth: 'bearer', credentials: 'me:secret' });
  registry.addImage('team/app', 'v1', [BASE, APP], { Cmd: ['/app'] });
});
afterAll(() => registry[Symbol.asyncDispose]());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-image-'));
  const auth = Buffer.from('me:secret').toString('base64');
  writeFileSync(join(folder, 'auth.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const environment = () => ({
  TVMM_ROOT: join(folder, 'root'),
  REGISTRY_AUTH_FILE: join(folder, 'auth.json'),
  HOME: folder,
});
const image = (...args: string[]) => tvmm(['image', ...args], { env: environment() });

describe('tvmm image', () => {
  it('pulls, lists, inspects, saves, removes and loads', async () => {
    const name = `${registry.host}/team/app:v1`;
    const pulled = await image('pull', name);
    expect(pulled).toMatchObject({ status: 0, left: [] });
    const id = pulled.stdout.trim();
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);

    const listed = await image('ls');
    expect(listed.stdout).toContain(name);
    expect(listed.stdout).toContain(id.slice(7, 19));
    const [record] = JSON.parse((await image('ls', '--json')).stdout);
    expect(record).toMatchObject({ name, id });

    const [inspected] = JSON.parse((await image('inspect', id.slice(7, 19))).stdout);
    expect(inspected).toMatchObject({ names: [name], platform: 'linux/amd64', config: { cmd: ['/app'] } });
    expect(readFileSync(join(inspected.layers[1].folder, 'diff/app'), 'utf8')).toBe('one');

    const archive = join(folder, 'saved.tar');
    expect((await image('save', name, '-o', archive)).status).toBe(0);
    expect(readdirSync(folder)).not.toContain('saved.tar.partial');
    expect((await image('rm', name)).stdout).toBe(`${name}\n`);
    expect(readdirSync(join(folder, 'root/layers'))).toEqual([]);
    for (const input of [[archive], ['--input', archive]])
      expect((await image('load', ...input)).stdout).toBe(`${name}\n`);
    expect((await image('ls', '-q')).stdout).toBe(`${id}\n`);
    expect((await image('prune', '--all')).stdout).toBe(`${name}\n`);
    expect((await image('ls', '-q')).stdout).toBe('');
  });

  it('says in one sentence what is wrong, with status 125', async () => {
    for (const [args, sentence] of [
      [['pull', 'No Image'], '"No Image" is no image name: it contains a space'],
      [['pull', `${registry.host}/nothing:v1`], `${registry.host} has no nothing:v1`],
      [['pull', '127.0.0.1:1/x'], '127.0.0.1:1 cannot be reached'],
      [['inspect', 'nothing'], 'there is no image nothing in'],
      [['load', '/nonexistent'], '/nonexistent cannot be read'],
      [['load', '-i', '/one', '/two'], 'give either /two or --input /one'],
      [['load', '--root', 'relative', '/etc/passwd'], 'the root folder "relative" is not an absolute path'],
      [['load', '/etc/passwd'], 'the archive is malformed'],
    ] as const) {
      const outcome = await image(...args);
      expect(outcome).toMatchObject({ status: 125, stdout: '', left: [] });
      expect(outcome.stderr).toContain(sentence);
      expect(outcome.stderr).not.toContain('internal error');
    }
    rmSync(join(folder, 'auth.json'));
    expect((await image('pull', `${registry.host}/team/app:v1`)).stderr).toContain(
      'does not let you pull team/app',
    );
  });

  it('still builds the default guest and says where it is', async () => {
    expect((await image('--help')).stdout).toMatch(/build[\s\S]*path[\s\S]*pull[\s\S]*prune/);
  });

  it('leaves nothing half made when it is killed while it unpacks, and goes on the next time', async () => {
    const big = packedLayer([file('big', 'x'.repeat(2_000_000))]);
    registry.addImage('big', 'latest', [BASE, big]);
    // The blob's second half only comes when the first client has been killed.
    let kill = (): void => {};
    registry.behaviour.hook = (request, response, url) => {
      if (!url.pathname.endsWith(registry.addBlob(big.packed).digest) || request.headers.range !== undefined)
        return false;
      response.writeHead(200, { 'content-length': String(big.packed.length) });
      response.write(big.packed.subarray(0, big.packed.length / 2), () => setTimeout(() => kill(), 100));
      return true;
    };
    const killed = await tvmm(['image', 'pull', `${registry.host}/big`], {
      env: environment(),
      started: (child) => {
        kill = () => void child.kill('SIGKILL');
      },
    });
    expect(killed.signal).toBe('SIGKILL');
    registry.behaviour.hook = (request, response, url) => {
      void [request, response, url];
      return false;
    };
    const again = await image('pull', `${registry.host}/big`);
    expect(again).toMatchObject({ status: 0 });
    expect((await image('prune')).status).toBe(0);
    expect(readdirSync(join(folder, 'root/tmp'))).toEqual([]);
  });

  it('lets several processes share the work of one pull', async () => {
    const big = packedLayer([file('shared', 'y'.repeat(1_000_000))]);
    registry.addImage('shared', 'latest', [big]);
    registry.requests.length = 0;
    const outcomes = await Promise.all([1, 2, 3].map(() => image('pull', `${registry.host}/shared`)));
    expect(outcomes.map(({ status }) => status)).toEqual([0, 0, 0]);
    expect(new Set(outcomes.map(({ stdout }) => stdout)).size).toBe(1);
    const path = `GET /v2/shared/blobs/${registry.addBlob(big.packed).digest}`;
    expect(registry.requests.filter((request) => request === path)).toHaveLength(1);
  });

  it('works on after being killed at any time', async () => {
    const archive = join(folder, 'big.tar');
    const entries = Array.from({ length: 3000 }, (_, i) => file(`f${i}`, 'z'.repeat(i)));
    registry.addImage('files', 'latest', [packedLayer(entries)]);
    expect((await image('pull', `${registry.host}/files`)).status).toBe(0);
    expect((await image('save', `${registry.host}/files`, '-o', archive)).status).toBe(0);
    const env = { ...environment(), TVMM_ROOT: join(folder, 'killed') };
    let kills = 0;
    for (const after of [150, 250, 350, 450, 600, 800]) {
      const outcome = await tvmm(['image', 'load', archive], {
        env,
        started: (child) => void setTimeout(() => child.kill('SIGKILL'), after),
      });
      if (outcome.signal === 'SIGKILL') kills++;
      expect((await tvmm(['image', 'prune', '--all'], { env })).status).toBe(0);
      for (const left of ['tmp', 'layers', 'images']) {
        if (existsSync(join(folder, 'killed', left)))
          expect(readdirSync(join(folder, 'killed', left))).toEqual([]);
      }
    }
    expect(kills).toBeGreaterThan(0);
    const loaded = await tvmm(['image', 'load', archive], { env });
    expect(loaded).toMatchObject({ status: 0, stdout: `${registry.host}/files:latest\n` });
  });

  it('ends by the signal that stops it, without leftovers but what the next pull uses', async () => {
    registry.addImage('slow', 'latest', [packedLayer([file('slow')])]);
    const outcome = await new Promise<Awaited<ReturnType<typeof tvmm>>>((resolve, reject) => {
      let stop = (): void => {};
      registry.behaviour.hook = (_, __, url) => {
        if (!url.pathname.startsWith('/v2/slow/blobs/')) return false;
        stop();
        return true;
      };
      tvmm(['image', 'pull', `${registry.host}/slow`], {
        env: environment(),
        started: (child) => {
          stop = () => void child.kill('SIGINT');
        },
      }).then(resolve, reject);
    });
    expect(outcome).toMatchObject({ signal: 'SIGINT', left: [] });
    registry.behaviour.hook = () => false;
    expect((await image('pull', `${registry.host}/slow`)).status).toBe(0);
  });
});

describe('with the tools that others use', () => {
  it('pulls from Debian’s registry what skopeo has pushed, zstd included', { timeout: 120_000 }, async () => {
    const data = join(folder, 'registry');
    const config = join(folder, 'config.yml');
    const port = 40_000 + (process.pid % 20_000);
    const passwords = join(folder, 'htpasswd');
    // me:secret, by bcrypt, which is all that it knows.
    writeFileSync(passwords, 'me:$2y$05$0v/OnNJE9ReRih1T.ha79uRrUDbw6XUV186Dwi8xhcNG.QkRr8Q4q\n');
    const settings = {
      version: 0.1,
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: data } },
      http: { addr: `127.0.0.1:${port}` },
      auth: { htpasswd: { realm: 'test', path: passwords } },
    };
    // YAML has JSON in it.
    writeFileSync(config, JSON.stringify(settings));
    const server = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
    try {
      const name = `127.0.0.1:${port}/made/app:v1`;
      expect((await image('pull', `${registry.host}/team/app:v1`)).status).toBe(0);
      expect(
        (
          await image(
            'save',
            '--format',
            'oci-dir',
            '-o',
            join(folder, 'layout'),
            `${registry.host}/team/app:v1`,
          )
        ).status,
      ).toBe(0);
      for (
        let i = 0;
        i < 100 && spawnSync('curl', ['-s', '-o', '/dev/null', `http://127.0.0.1:${port}/v2/`]).status !== 0;
        i++
      ) {
        await new Promise((done) => setTimeout(done, 100));
      }
      for (const [tag, options] of [
        ['v1', []],
        ['zstd', ['--dest-compress-format', 'zstd', '--dest-compress']],
      ] as const) {
        const push = spawnSync(
          'skopeo',
          [
            '--insecure-policy',
            'copy',
            '--dest-tls-verify=false',
            '--dest-creds=me:secret',
            ...options,
            `oci:${join(folder, 'layout')}:v1`,
            `docker://127.0.0.1:${port}/made/app:${tag}`,
          ],
          { encoding: 'utf8' },
        );
        expect(push.stderr).toBe('');
      }
      const root = { ...environment(), TVMM_ROOT: join(folder, 'second') };
      const pull = (...args: string[]) => tvmm(['image', 'pull', ...args], { env: root });
      const refused = await pull(name);
      expect(refused.status).toBe(125);
      expect(refused.stderr).toContain('does not let you pull made/app: authentication required');
      expect((await pull('--creds', 'me:wrong', name)).status).toBe(125);
      for (const tag of ['v1', 'zstd'])
        expect(await pull('--creds', 'me:secret', name.replace('v1', tag))).toMatchObject({
          status: 0,
          left: [],
        });
      // The same layers, however they are packed.
      expect(readdirSync(join(folder, 'second/layers'))).toHaveLength(2);

      const login = join(folder, 'login.json');
      const words = ['login', '--tls-verify=false', '-u', 'me', '-p', 'secret', '--authfile', login];
      expect(spawnSync('skopeo', [...words, `127.0.0.1:${port}`]).status).toBe(0);
      const [{ manifest }] = JSON.parse((await tvmm(['image', 'inspect', name], { env: root })).stdout);
      const exact = await pull('--authfile', login, `127.0.0.1:${port}/made/app@${manifest}`);
      expect(exact).toMatchObject({ status: 0, left: [] });
      expect(existsSync(CLI)).toBe(true);
    } finally {
      server.kill();
    }
  });

  it('loads whatever skopeo writes, and what it saves skopeo reads', async () => {
    const name = `${registry.host}/team/app:v1`;
    const made = join(folder, 'made.tar');
    const pulled = await image('pull', name);
    expect((await image('save', '--format', 'oci-archive', '-o', made, name)).status).toBe(0);
    const skopeo = (...args: string[]) => {
      const { status, stdout, stderr } = spawnSync('skopeo', ['--insecure-policy', ...args], {
        encoding: 'utf8',
      });
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      return stdout;
    };
    for (const kind of ['oci', 'oci-archive', 'docker-archive', 'dir']) {
      const place = join(folder, kind);
      skopeo('copy', '-q', `oci-archive:${made}`, `${kind}:${place}`);
      const loaded = await image('load', '--name', `localhost/${kind}`, place);
      expect(loaded, loaded.stderr).toMatchObject({ status: 0, stdout: `localhost/${kind}:latest\n` });
    }
    const unpacked = join(folder, 'unpacked');
    mkdirSync(unpacked);
    expect(spawnSync('tar', ['-xf', join(folder, 'docker-archive'), '-C', unpacked]).status).toBe(0);
    expect((await image('load', '--name', 'localhost/unpacked', unpacked)).status).toBe(0);
    const ids = new Set((await image('ls', '-q')).stdout.trim().split('\n'));
    // docker-archive has the same configuration, so it is the same image.
    expect([...ids]).toEqual([pulled.stdout.trim()]);
    for (const [format, transport] of [
      ['docker-archive', 'docker-archive'],
      ['oci-dir', 'oci'],
    ] as const) {
      const place = join(folder, `saved-${format}`);
      const saved = await image('save', '--format', format, '-o', place, name);
      expect(saved).toMatchObject({ status: 0, stderr: '' });
      const seen = JSON.parse(skopeo('inspect', `${transport}:${place}`));
      expect(seen.Layers).toHaveLength(2);
    }
  });

  it('saves large layers without a word, and says which packer to use first', async () => {
    registry.addImage('large', 'latest', [
      packedLayer([file('noise', randomBytes(8 * 2 ** 20).toString('latin1'))]),
    ]);
    const name = `${registry.host}/large:latest`;
    expect((await image('pull', name)).status).toBe(0);
    const archive = join(folder, 'large.tar');
    expect(await image('save', '-o', archive, name)).toMatchObject({ status: 0, stderr: '' });
    expect(spawnSync('xz', ['-0', archive]).status).toBe(0);
    const packed = await image('load', `${archive}.xz`);
    expect(packed.status).toBe(125);
    expect(packed.stderr).toContain('large.tar.xz is packed by xz');
    expect(packed.stderr).toContain('xz -dc FILE | tvmm image load');
  });
});
