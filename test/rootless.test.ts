/**
 * Containers of an ordinary user: a user namespace with subordinate ids or with the user's own alone, images with files of several owners,
 * networks by pasta and slirp4netns, and what is refused. Root is needed to make the user.
 */

import { chmodSync, chownSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { digestOf } from '../src/container/image/digest.js';
import { type TarInput, tarEnd, tarFile, tarHeader } from '../src/container/image/tar-writer.js';
import { needs } from './support/needs.js';
import { RootlessUser } from './support/rootless.js';

const isRoot = process.getuid?.() === 0;
let user: RootlessUser;

function tar(entries: readonly (TarInput & { readonly body?: Buffer })[]): Buffer {
  return Buffer.concat([
    ...entries.map(({ body, ...entry }) => (body === undefined ? tarHeader(entry) : tarFile(entry, body))),
    tarEnd(),
  ]);
}

/** A docker archive of two layers: busybox and files of two users, then a folder removed. */
function archive(): Buffer {
  const folder = (name: string, more: Partial<TarInput> = {}) => ({
    name,
    type: 'directory' as const,
    mode: 0o755,
    ...more,
  });
  const applets = ['sh', 'id', 'stat', 'touch', 'ls', 'cat', 'sleep'];
  const layers = [
    tar([
      ...['bin', 'etc', 'proc', 'sys', 'dev', 'home', 'gone'].map((name) => folder(name)),
      { name: 'bin/busybox', mode: 0o755, body: readFileSync('/bin/busybox') },
      ...applets.map((name) => ({ name: `bin/${name}`, type: 'symlink' as const, linkName: 'busybox' })),
      {
        name: 'etc/passwd',
        mode: 0o644,
        body: Buffer.from('root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n'),
      },
      folder('home/alice', { uid: 1000, gid: 1000 }),
      { name: 'home/alice/note', mode: 0o600, uid: 1000, gid: 1000, body: Buffer.from('hers\n') },
      { name: 'gone/file', mode: 0o644, body: Buffer.from('x') },
    ]),
    tar([{ name: '.wh.gone', mode: 0o644, body: Buffer.alloc(0) }]),
  ];
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: { Cmd: ['sh'], User: 'alice', Env: ['PATH=/bin'] },
      rootfs: { type: 'layers', diff_ids: layers.map((layer) => digestOf(layer)) },
    }),
  );
  const names = layers.map((_, i) => `layer${i}.tar`);
  const manifest = Buffer.from(
    JSON.stringify([{ Config: 'config.json', RepoTags: ['demo:1'], Layers: names }]),
  );
  return gzipSync(
    tar([
      { name: 'config.json', body: config },
      ...layers.map((body, i) => ({ name: names[i] ?? '', body })),
      { name: 'manifest.json', body: manifest },
    ]),
  );
}

function ask(port: number): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = createConnection(port, '127.0.0.1');
    socket.setTimeout(3000, () => socket.destroy());
    socket.on('data', (bytes) => {
      text += bytes.toString();
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(text));
  });
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 100; i++) {
    if (await condition()) return;
    await delay(50);
  }
  throw new Error(`it did not happen: ${what}; the user has ${user.processes().join(', ')}`);
}

/** A command in a container without a network. */
const run = (options: readonly string[], ...command: string[]) =>
  user.tvmm('run', '--rm', '--network', 'none', ...options, '--rootfs', user.rootfs, ...command);

async function removeAll(): Promise<void> {
  const ids = (await user.tvmm('ps', '-aq')).stdout.split('\n').filter((id) => id !== '');
  if (ids.length > 0) await user.tvmm('rm', '-f', ...ids);
}

describe('a user with subordinate ids', () => {
  beforeAll(() => {
    if (isRoot) user = new RootlessUser(true);
  });
  afterEach(async () => {
    if (isRoot) await removeAll();
  });
  afterAll(() => {
    if (isRoot) user[Symbol.dispose]();
  });

  it('is root in a container, and hears once what containers do without', async (context) => {
    needs(context, 'root');
    const first = await run([], 'sh', '-c', 'id; cat /proc/self/uid_map; exit 7');
    expect(first.stderr).toMatch(/^(tvmm: without root: no cgroup is delegated[^\n]*\n)?$/);
    expect(first.status).toBe(7);
    expect(first.stdout).toMatch(/^uid=0\(root\) gid=0\(root\)/);
    expect(first.stdout).toMatch(new RegExp(`^\\s*0\\s+${user.id}\\s+1\\n\\s*1\\s+\\d+\\s+65536$`, 'm'));
    const second = await run(['-u', '1000'], 'id', '-u');
    expect(second).toEqual({ status: 0, stdout: '1000\n', stderr: '' });
    expect((await user.tvmm('ps', '-a', '-q')).stdout).toBe('');
    // Nothing of it but the process that holds the namespaces.
    await until('all have ended', () => user.processes().length === 1);
    expect(existsSync('/var/lib/tvmm/containers') && existsSync(join('/run/tvmm', 'rootless.json'))).toBe(
      false,
    );
  });

  it('does not get capabilities that reach the machine', async (context) => {
    needs(context, 'root');
    const { stdout } = await run(
      ['--privileged'],
      'sh',
      '-c',
      'mknod /tmp/disk b 254 0 2>/dev/null || echo no node; mount -t tmpfs x /tmp && echo mounted; hostname x; cat /proc/sys/kernel/hostname; echo 1 2>/dev/null > /proc/sys/kernel/sysrq || echo no sysctl',
    );
    expect(stdout).toBe('no node\nmounted\nx\nno sysctl\n');
  });

  it('unpacks images with files of several owners, and runs them with an overlay', async (context) => {
    needs(context, 'root');
    const file = user.file('demo.tar.gz');
    writeFileSync(file, archive());
    chownSync(file, user.id, user.id);
    expect(await user.tvmm('image', 'load', file)).toMatchObject({ status: 0, stderr: '' });
    const script =
      'id -un; stat -c "%n %u:%g" / /home/alice /home/alice/note; ls -d /gone 2>/dev/null; touch /home/alice/new && cat /home/alice/note';
    const seen = await user.tvmm('run', '--rm', '--network', 'none', 'demo:1', 'sh', '-c', script);
    expect(seen).toMatchObject({
      status: 0,
      stdout: 'alice\n/ 0:0\n/home/alice 1000:1000\n/home/alice/note 1000:1000\nhers\n',
    });
    // What maps the user to nobody must be let through to the images.
    chmodSync(join(user.base, 'home'), 0o711);
    const apart = ['run', '--rm', '--network', 'none', '--userns', 'private', '-u', '0', 'demo:1'];
    const own = await user.tvmm(...apart, 'sh', '-c', 'cat /proc/self/uid_map; stat -c %u /home/alice/note');
    expect(own.stdout.trim().split(/\s+/)).toEqual(['0', '1', '65536', '1000']);
    expect(await user.tvmm('image', 'rm', 'demo:1')).toMatchObject({ status: 0 });
    expect((await user.tvmm('image', 'prune')).status).toBe(0);
  });

  it.for(['pasta', 'slirp4netns'])(
    'publishes a port through %s, which ends with the container',
    async (tool, context) => {
      needs(context, 'root', 'tun');
      const script = 'while :; do echo hello | nc -l -p 80; done';
      const options = ['-d', '--name', 'web', '--network', tool, '-p', '80', '--rootfs', user.rootfs];
      expect((await user.tvmm('run', ...options, 'sh', '-c', script)).stderr).toBe('');
      const [{ ports }] = JSON.parse((await user.tvmm('inspect', 'web')).stdout);
      const { hostPort } = ports[0];
      await until('it answers', async () => (await ask(hostPort)) === 'hello\n');
      // The host's loopback is not the container's to reach.
      const { stdout } = await user.tvmm('exec', 'web', 'cat', '/etc/hosts');
      expect(stdout).toContain('10.0.2.100');
      expect(
        user.processes().filter((words) => words.includes(tool) && words.includes('.netns')),
      ).toHaveLength(1);
      await user.tvmm('kill', 'web');
      await user.tvmm('rm', '-f', 'web');
      await until('it has ended', () => user.processes().every((words) => !words.includes('.netns')));
      expect(await ask(hostPort)).toBe('');
    },
  );

  it('has its containers started again by their policy, listed and copied from', async (context) => {
    needs(context, 'root');
    const options = ['-d', '--name', 'again', '--restart', 'on-failure:2', '--network', 'none'];
    await user.tvmm('run', ...options, '--rootfs', user.rootfs, 'sh', '-c', 'echo run >> /tmp/runs; exit 3');
    const state = async () => JSON.parse((await user.tvmm('inspect', 'again')).stdout)[0];
    await until('it has given up', async () => {
      const { restarts, state: now } = await state();
      return restarts === 2 && now === 'stopped';
    });
    expect((await state()).exitCode).toBe(3);
    const copy = user.file('runs');
    expect((await user.tvmm('cp', 'again:/tmp/runs', copy)).stderr).toBe('');
    expect(readFileSync(copy, 'utf8')).toBe('run\nrun\nrun\n');
    expect(statSync(copy).uid).toBe(user.id);
  });

  it('finds its containers again when what holds the namespaces was killed', async (context) => {
    needs(context, 'root');
    const made = await user.tvmm(
      'run',
      '-d',
      '--name',
      'stay',
      '--network',
      'none',
      '--rootfs',
      user.rootfs,
      'sleep',
      '1000',
    );
    expect(made.status).toBe(0);
    process.kill(user.holder(), 'SIGKILL');
    expect(await user.tvmm('exec', 'stay', 'id', '-u')).toMatchObject({ status: 0, stdout: '0\n' });
    const top = await user.tvmm('top', 'stay');
    expect(top.stdout).toContain('sleep 1000');
    expect((await user.tvmm('rm', '-f', 'stay')).status).toBe(0);
    expect((await run([], 'id', '-u')).stdout).toBe('0\n');
  });

  it.for<readonly [readonly string[], RegExp]>([
    [['-m', '64m'], /--memory: this user has no cgroup/],
    [['--pids-limit', '10'], /--pids-limit: this user has no cgroup/],
    [['--network', 'mine'], /--network mine: networks of the host need root/],
    [['-p', '8080:80'], /--publish: needs a network of the container's own, not --network none/],
  ])('is told why %j cannot be', async ([options, why], context) => {
    needs(context, 'root');
    const network = options.includes('--network') ? [] : ['--network', 'none'];
    const result = await user.tvmm('run', '--rm', ...network, ...options, '--rootfs', user.rootfs, 'true');
    // Where a cgroup is delegated to everybody, limits can be had.
    if (result.status === 0 && /cgroup/.test(why.source)) return;
    expect(result.status).toBe(125);
    expect(result.stderr).toMatch(why);
  });
});

describe('a user without subordinate ids', () => {
  beforeAll(() => {
    if (isRoot) user = new RootlessUser(false);
  });
  afterAll(() => {
    if (isRoot) user[Symbol.dispose]();
  });

  it('has containers in which there is one id, its own', async (context) => {
    needs(context, 'root');
    const { status, stdout } = await run(
      [],
      'sh',
      '-c',
      'cat /proc/self/uid_map /proc/self/setgroups; touch /made; stat -c %u /made',
    );
    expect(status).toBe(0);
    expect(stdout.trim().split(/\s+/)).toEqual(['0', `${user.id}`, '1', 'deny', '0']);
    expect(statSync(join(user.rootfs, 'made')).uid).toBe(user.id);
    const other = await run(['-u', '1000'], 'id');
    expect(other.status).toBe(125);
    const apart = await run(['--userns', 'private'], 'id');
    expect(apart.stderr).toContain('private needs 65536 ids');
  });

  it('is not led by a runtime folder of somebody else’s', async (context) => {
    needs(context, 'root');
    const { stderr, status } = await user.run(
      join(user.base, 'node'),
      [join(user.base, 'tvmm/dist/cli.cjs'), 'ps'],
      { TVMM_RUN: '', XDG_RUNTIME_DIR: '/tmp' },
    );
    // /tmp is nobody's own: a folder of the user's own is made below it, never tmp/tvmm.
    expect(status).toBe(0);
    expect(stderr).toBe('');
    expect(existsSync('/tmp/tvmm/rootless.json')).toBe(false);
    process.kill(JSON.parse(readFileSync(`/tmp/tvmm-run-${user.id}/rootless.json`, 'utf8')).holder.pid);
    const { rmSync } = await import('node:fs');
    rmSync(`/tmp/tvmm-run-${user.id}`, { recursive: true, force: true });
  });
});
