/**
 * What people do with containers that have a network: servers with published ports, and a Debian whose apt installs packages. The packages
 * come from another container, so this takes no network but ours.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeDebianRoot } from './support/debian-root.js';
import { engineHost } from './support/engine.js';
import { dockerArchive } from './support/engine-image.js';
import { needs } from './support/needs.js';

const { open, close, tvmm, leftovers, until, removeAll } = engineHost('tvmm-servers-');
const port = 30_000 + Math.floor(Math.random() * 2_000);

let base = '';
let rootfs = '';
beforeAll(() => {
  ({ base, rootfs } = open());
});
beforeEach((context) => needs(context, 'root', 'firewall'));
afterAll(async () => {
  await removeAll();
  close();
});

/** What a server answers; nothing where there is none. */
function page(host: string, at = port): Promise<string> {
  return fetch(`http://${host}:${at}/`, { signal: AbortSignal.timeout(5_000) }).then(
    (answer) => answer.text(),
    () => '',
  );
}

/** An address of this machine that is not the loopback's. */
function hostAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
}

/** Serves a folder of the host. @returns the server's address */
async function serve(name: string, folder: string, ...options: string[]): Promise<string> {
  const mount = ['-v', `${folder}:/www:ro`];
  const command = ['--rootfs', rootfs, 'busybox', 'httpd', '-f', '-p', '80', '-h', '/www'];
  const { status, stderr } = await tvmm(['run', '-d', '--name', name, ...mount, ...options, ...command]);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return (await tvmm(['inspect', '--format', '{{.NetworkSettings.IPAddress}}', name])).stdout.trim();
}

describe('a published server', () => {
  it('is reached from the host, from its address and from other containers, until it is removed', async () => {
    const folder = join(base, 'www');
    mkdirSync(folder);
    writeFileSync(join(folder, 'index.html'), 'page\n');
    const inside = await serve('web', folder, '-p', `${port}:80`);
    await until('the server answers', async () => (await page('127.0.0.1')) === 'page\n');

    const get = (place: string) =>
      tvmm(['run', '--rm', '--rootfs', rootfs, 'busybox', 'wget', '-qO-', `http://${place}/`]);
    const address = hostAddress();
    if (address !== undefined) {
      expect(await page(address)).toBe('page\n');
      expect(await get(`${address}:${port}`)).toEqual({ status: 0, stdout: 'page\n', stderr: '' });
    }
    expect(await get(inside)).toEqual({ status: 0, stdout: 'page\n', stderr: '' });

    expect((await tvmm(['rm', '-f', 'web'])).status).toBe(0);
    expect(await page('127.0.0.1')).toBe('');
    expect(leftovers()).toEqual([]);
  });
});

/** A repository (deb822, apt's "flat" form) of one package, whose script does as root does. */
function makeRepository(folder: string): void {
  const tree = join(folder, 'greeting');
  mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  const control = [
    'Package: greeting',
    'Version: 1.0',
    'Architecture: all',
    'Maintainer: Nobody <nobody@localhost>',
  ];
  const description = 'Description: says hello';
  writeFileSync(join(tree, 'DEBIAN/control'), `${[...control, description].join('\n')}\n`);
  writeFileSync(
    join(tree, 'DEBIAN/postinst'),
    '#!/bin/sh\nset -e\nmkdir /var/lib/greeting\nchown 42:65534 /var/lib/greeting\nchmod 2750 /var/lib/greeting\n',
  );
  writeFileSync(join(tree, 'usr/bin/greeting'), '#!/bin/sh\necho hello\n');
  for (const file of ['DEBIAN/postinst', 'usr/bin/greeting']) chmodSync(join(tree, file), 0o755);
  const deb = join(folder, 'greeting.deb');
  execFileSync('dpkg-deb', ['--root-owner-group', '--build', tree, deb], { stdio: 'ignore' });
  const bytes = readFileSync(deb);
  const sum = createHash('sha256').update(bytes).digest('hex');
  const place = ['Filename: ./greeting.deb', `Size: ${bytes.length}`, `SHA256: ${sum}`];
  writeFileSync(join(folder, 'Packages'), `${[...control, ...place, description].join('\n')}\n`);
}

describe('a Debian container', () => {
  it('installs packages with apt, which gives up root to fetch them', async () => {
    const repository = join(base, 'repository');
    makeRepository(repository);
    const mirror = await serve('mirror', repository);

    const root = join(base, 'debian');
    makeDebianRoot(root);
    writeFileSync(join(root, 'etc/apt/sources.list'), 'deb [trusted=yes] http://mirror/ ./\n');
    const layer = execFileSync('tar', ['-C', root, '--numeric-owner', '-c', '.'], { maxBuffer: 2 ** 30 });
    const loaded = await tvmm(
      ['image', 'load'],
      dockerArchive('localhost/debian:test', { Cmd: ['sh'] }, layer),
    );
    expect(loaded).toEqual({ status: 0, stdout: 'localhost/debian:test\n', stderr: '' });

    const steps = [
      'apt-get -q update',
      'apt-get -qy install greeting',
      'greeting',
      'stat -c "%a %u %g" /var/lib/greeting',
    ];
    const { status, stdout, stderr } = await tvmm([
      ...['run', '--rm', '--add-host', `mirror:${mirror}`],
      'localhost/debian:test',
      'sh',
      '-ec',
      steps.join('; '),
    ]);
    expect(status, `${stdout}${stderr}`).toBe(0);
    expect(stdout).toMatch(/^Get:\d+ http:\/\/mirror/m);
    expect(stdout).toMatch(/Setting up greeting \(1\.0\)[\s\S]*\nhello\n2750 42 65534\n$/);
    // Where its sandbox fails, apt fetches as root, and says so.
    expect(stderr).not.toMatch(/sandbox|unsandboxed|setgroups|seteuid/i);
    expect((await tvmm(['rm', '-f', 'mirror'])).status).toBe(0);
    expect(leftovers()).toEqual([]);
  });
});
