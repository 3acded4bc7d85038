/** Volumes at the command line, with real containers: names, copies of what the image has, removal, and trees that are hostile. Needs root. */
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { engineHost } from './support/engine.js';
import { busyboxArchive } from './support/engine-image.js';
import { needs } from './support/needs.js';

const host = engineHost('tvmm-volumes-');
const { tvmm, run, leftovers, until, removeAll } = host;
let base = '';

beforeAll(async () => {
  ({ base } = host.open());
  const archive = busyboxArchive('vols:1', { Cmd: ['sh'], Volumes: { '/declared': {} } }, [
    { name: 'data', type: 'directory', mode: 0o750, uid: 1000, gid: 1000 },
    { name: 'data/seed', body: 'from the image', uid: 1000, gid: 1000 },
    { name: 'declared', type: 'directory', mode: 0o755 },
    { name: 'declared/file', body: 'declared' },
    // Hostile: a folder of the image that is a link out of it.
    { name: 'escape', type: 'symlink', linkName: `../../../../../../../..${base}/secret` },
  ]);
  mkdirSync(join(base, 'secret'));
  writeFileSync(join(base, 'secret/host'), 'of the host');
  const loaded = await tvmm(['image', 'load'], archive);
  expect(loaded.stderr).toBe('');
});
beforeEach((context) => needs(context, 'root'));
afterEach(removeAll);
afterAll(() => host.close());

const image = (options: readonly string[], ...command: string[]) =>
  tvmm(['run', '--rm', '--network', 'none', ...options, 'vols:1', ...command]);
const data = (name: string) => join(base, 'root/volumes', name, '_data');

describe('a named volume', () => {
  it('gets what the image has at its place once, with owners, and outlives its containers', async () => {
    const first = await image(
      ['-v', 'one:/data'],
      'sh',
      '-c',
      'cat /data/seed; stat -c %u:%a /data; rm /data/seed',
    );
    expect(first).toMatchObject({ status: 0, stdout: 'from the image1000:750\n', stderr: '' });
    await image(['-v', 'one:/data'], 'sh', '-c', 'echo kept > /data/mine');
    const second = await image(
      ['--mount', 'type=volume,source=one,target=/elsewhere,readonly'],
      'sh',
      '-c',
      'ls /elsewhere; touch /elsewhere/x',
    );
    expect(second.stdout).toBe('mine\n');
    expect(second.stderr).toContain('Read-only file system');
  });

  it('is begun anew when its first copy was interrupted', async () => {
    await tvmm(['volume', 'create', 'half']);
    const file = join(base, 'root/volumes/half/volume.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace('pending', 'begun'));
    writeFileSync(join(data('half'), 'partial'), 'x');
    expect((await image(['-v', 'half:/data'], 'ls', '/data')).stdout).toBe('seed\n');
  });

  it('that somebody has filled already, or with nocopy, gets nothing from the image', async () => {
    await tvmm(['volume', 'create', 'full']);
    writeFileSync(join(data('full'), 'own'), 'x');
    expect((await image(['-v', 'full:/data'], 'ls', '/data')).stdout).toBe('own\n');
    expect((await image(['-v', 'bare:/data:nocopy'], 'ls', '/data')).stdout).toBe('');
  });

  it('is not filled through a link that leads out of the image', async () => {
    const { stdout } = await image(['-v', 'trap:/escape'], 'ls', '/escape');
    expect(stdout).toBe('');
    expect(readdirSync(data('trap'))).toEqual([]);
  });

  it('belongs to the root of a user namespace', async () => {
    const { stdout, stderr } = await image(
      ['--userns', 'private', '-v', 'mapped:/new'],
      'sh',
      '-c',
      'touch /new/file && stat -c %u /new/file',
    );
    expect(stderr).toBe('');
    expect(stdout).toBe('0\n');
  });
});

describe('tvmm volume', () => {
  it('makes, lists, shows, guards and removes volumes', async () => {
    expect((await tvmm(['volume', 'create', '-l', 'tier=gold', 'kept'])).stdout).toBe('kept\n');
    expect((await tvmm(['volume', 'create', 'kept'])).stderr).toContain('there is a volume kept already');
    expect((await tvmm(['volume', 'create', '../x'])).stderr).toContain('is no name of a volume');
    expect((await tvmm(['volume', 'ls', '-q', '--filter', 'label=tier=gold'])).stdout).toBe('kept\n');
    await run(['-d', '--name', 'user', '-v', 'kept:/k'], 'sleep', '1000');
    const [shown] = JSON.parse((await tvmm(['volume', 'inspect', 'kept'])).stdout);
    expect(shown).toMatchObject({
      name: 'kept',
      labels: { tier: 'gold' },
      mountpoint: data('kept'),
      containers: ['user'],
    });
    const refused = await tvmm(['volume', 'rm', 'kept']);
    expect(refused).toMatchObject({ status: 1 });
    expect(refused.stderr).toContain('volume kept is in use by user');
    expect((await tvmm(['volume', 'prune', '-a'])).stdout).not.toContain('kept');
    await tvmm(['rm', '-f', 'user']);
    expect((await tvmm(['volume', 'rm', 'kept'])).stdout).toBe('kept\n');
    expect((await tvmm(['volume', 'rm', 'kept'])).stderr).toContain('there is no volume kept');
    expect(existsSync(join(base, 'root/volumes/kept'))).toBe(false);
  });

  it('removes those without a name with --rm and rm -v, and prunes the others', async () => {
    await tvmm(['volume', 'prune', '-a']);
    expect((await image([], 'cat', '/declared/file')).stdout).toBe('declared');
    await until('it is gone', () => readdirSync(join(base, 'root/volumes')).length === 0);
    await tvmm(['create', '--name', 'a', '--network', 'none', 'vols:1']);
    await tvmm(['create', '--name', 'b', '--network', 'none', '-v', '/own', 'vols:1']);
    expect(readdirSync(join(base, 'root/volumes'))).toHaveLength(3);
    await tvmm(['rm', '-v', 'b']);
    expect(readdirSync(join(base, 'root/volumes'))).toHaveLength(1);
    await tvmm(['rm', 'a']);
    expect((await tvmm(['volume', 'prune'])).stdout).toMatch(/^[0-9a-f]{64}\n$/);
    expect(readdirSync(join(base, 'root/volumes'))).toEqual([]);
    expect(leftovers()).toEqual([]);
  });

  it('gives another container’s mounts with --volumes-from', async () => {
    const folder = join(base, 'bound');
    mkdirSync(folder, { recursive: true });
    await run(['-d', '--name', 'src', '-v', 'shared:/s', '-v', `${folder}:/b`], 'sleep', '1000');
    const { stdout } = await run(
      ['--rm', '--volumes-from', 'src:ro'],
      'sh',
      '-c',
      'touch /s/x /b/x 2>&1 | wc -l',
    );
    expect(stdout.trim()).toBe('2');
    await run(['--rm', '--volumes-from', 'src'], 'touch', '/s/y', '/b/y');
    expect([readdirSync(data('shared')), readdirSync(folder)]).toEqual([['y'], ['y']]);
  });
});

describe('tvmm cp', () => {
  it('keeps owners, links and fifos with -a, follows a link with -L, and takes packed streams', async () => {
    await run(['--name', 'c'], 'true');
    const folder = join(base, 'whole');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'f'), 'x');
    chownSync(join(folder, 'f'), 1234, 1234);
    await tvmm(['cp', folder, 'c:/tmp/plain']);
    await tvmm(['cp', '-a', folder, 'c:/tmp/archive']);
    await tvmm(['start', '-a', 'c']);
    const owner = (name: string) => run(['--rm'], 'stat', '-c', '%u', `/tmp/${name}/f`);
    expect([(await owner('plain')).stdout, (await owner('archive')).stdout]).toEqual(['0\n', '1234\n']);
    rmSync(join(folder, 'f'));
    await tvmm(['cp', '-L', 'c:/bin/sh', join(folder, 'sh')]);
    expect(readFileSync(join(folder, 'sh')).equals(readFileSync('/bin/busybox'))).toBe(true);
  });

  it('writes nothing outside while the container swaps folders for links under it', async () => {
    const outside = join(base, 'outside');
    mkdirSync(outside, { recursive: true });
    const folder = join(base, 'many');
    mkdirSync(folder, { recursive: true });
    for (let i = 0; i < 200; i++) writeFileSync(join(folder, `f${i}`), 'x');
    const link = `ln -s ../../../../../../../..${outside}`;
    const swap = `while :; do mkdir -p /tmp/d/many; rm -rf /tmp/d; ${link} /tmp/d; rm /tmp/d; mkdir -p /tmp/d; ${link} /tmp/d/many; rm -rf /tmp/d; done`;
    await run(['-d', '--name', 'h'], 'sh', '-c', swap);
    for (let i = 0; i < 4; i++) {
      // It may work or be refused, as the swap falls; never may it reach the host.
      const { stderr } = await tvmm(['cp', '-a', folder, 'h:/tmp/d']);
      expect(stderr).not.toContain('internal error');
    }
    expect(readdirSync(outside)).toEqual([]);
  });
});
