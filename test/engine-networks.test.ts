/** tvmm network at the command line, with the real plugins: made, used, guarded, removed, and cleaned up after a crash. Needs root. */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { engineHost } from './support/engine.js';
import { needs } from './support/needs.js';

const host = engineHost('tvmm-engine-net-');
const { tvmm, removeAll, until } = host;
let base = '';
let rootfs = '';

beforeAll(() => {
  ({ base, rootfs } = host.open());
});
beforeEach((context) => needs(context, 'root', 'firewall'));
afterAll(async () => {
  if (process.geteuid?.() === 0) {
    await removeAll();
    await tvmm(['network', 'prune']);
  }
  await host.close();
});

/** A subnet that nothing else here is likely to have; another where a host does. */
async function createNetwork(): Promise<string> {
  for (let third = process.pid % 200; ; third++) {
    const subnet = `10.231.${third % 250}.0/24`;
    const { status, stderr } = await tvmm(['network', 'create', '--subnet', subnet, 'back']);
    if (status === 0) return subnet;
    if (!stderr.includes('in use')) throw new Error(stderr);
  }
}

it('a network is made, joined with an address of one’s own and names of the others, guarded while it is in use, and pruned', async () => {
  const subnet = await createNetwork();
  expect((await tvmm(['network', 'create', 'back'])).stderr).toContain('there is a network back already');
  expect((await tvmm(['network', 'create', '--driver', 'macvlan', 'x'])).stderr).toContain(
    'bridge is the only one',
  );
  expect((await tvmm(['network', 'ls', '--format', '{{.Name}} {{join .Subnets ","}}'])).stdout).toContain(
    `back ${subnet}\n`,
  );
  const ip = subnet.replace('.0/24', '.77');
  const options = [
    '--network',
    'back',
    '--ip',
    ip,
    '--mac-address',
    '02:00:00:00:00:77',
    '-P',
    '--expose',
    '81',
  ];
  const started = await tvmm(['run', '-d', '--name', 'n', ...options, '--rootfs', rootfs, 'sleep', '1000']);
  expect(started.stderr).toBe('');
  const format = '{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Networks.back.MacAddress}}';
  expect((await tvmm(['inspect', '-f', format, 'n'])).stdout).toBe(`${ip} 02:00:00:00:00:77\n`);
  const other = ['run', '-d', '--name', 'm', '--network', 'back', '--network-alias', 'friend'];
  await tvmm([...other, '--rootfs', rootfs, 'sh', '-c', 'grep -c "	n" /etc/hosts; sleep 1000']);
  await until('it has the other’s name', async () => (await tvmm(['logs', 'm'])).stdout === '1\n');
  expect((await tvmm(['exec', 'n', 'grep', 'friend', '/etc/hosts'])).stdout).toMatch(
    /^10\.231\.\d+\.\d+\tm friend /,
  );
  await tvmm(['rm', '-f', 'm']);
  expect((await tvmm(['exec', 'n', 'grep', 'friend', '/etc/hosts'])).stdout).toBe('');
  expect((await tvmm(['port', 'n', '81'])).stdout).toMatch(/^0\.0\.0\.0:\d+\n$/);
  const [shown] = JSON.parse((await tvmm(['network', 'inspect', 'back'])).stdout);
  expect(shown.containers).toMatchObject([{ name: 'n', addresses: [`${ip}/24`] }]);
  expect((await tvmm(['network', 'rm', 'back'])).stderr).toContain('in use by container n');
  expect((await tvmm(['network', 'prune'])).stdout).toBe('');
  await tvmm(['rm', '-f', 'n']);
  expect((await tvmm(['network', 'prune'])).stdout).toBe('back\n');
  expect((await tvmm(['network', 'rm', 'back'])).stderr).toContain('there is no network back');
  expect((await tvmm(['network', 'rm', '-f', 'back'])).status).toBe(0);
});

it('what a dead container has left in the host’s network goes when the next one is made', async () => {
  const folder = join(base, 'run/netns');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'f'.repeat(64)), '');
  await tvmm(['create', '--name', 'next', '--network', 'none', '--rootfs', rootfs, 'true']);
  expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
  rmSync(folder, { recursive: true, force: true });
});

it('a container that runs joins a network and leaves it, with its names and ports, and keeps that over a restart', async () => {
  await createNetwork();
  const hosts = async (name: string) => (await tvmm(['exec', name, 'cat', '/etc/hosts'])).stdout;
  const ports = ['-p', '127.0.0.1::80'];
  await tvmm([
    'run',
    '-d',
    '--name',
    'a',
    '--network',
    'back',
    ...ports,
    '--rootfs',
    rootfs,
    'sleep',
    '1000',
  ]);
  await tvmm(['run', '-d', '--name', 'b', '--network', 'none', '--rootfs', rootfs, 'sleep', '1000']);
  expect((await tvmm(['network', 'connect', '--alias', 'friend', 'back', 'b'])).stderr).toBe('');
  expect(await hosts('a')).toMatch(/\tb friend /);
  expect(await hosts('b')).toMatch(/\ta /);
  const again = await tvmm(['network', 'connect', 'back', 'b']);
  expect(again.status).toBe(125);
  expect(again.stderr).toContain('there twice');
  expect((await tvmm(['network', 'connect', 'no-such', 'b'])).stderr).toContain('no-such');
  await tvmm(['restart', '-t', '0', 'b']);
  expect(await hosts('a')).toMatch(/\tb friend /);

  expect((await tvmm(['network', 'disconnect', 'back', 'b'])).stderr).toBe('');
  expect(await hosts('a')).not.toContain('friend');
  expect(await hosts('b')).not.toMatch(/\ta /);
  expect((await tvmm(['network', 'disconnect', 'back', 'b'])).stderr).toContain('is not on the network');
  expect((await tvmm(['port', 'a'])).stdout).toContain('80/tcp');
  await tvmm(['network', 'disconnect', 'back', 'a']);
  expect((await tvmm(['port', 'a'])).stdout).toBe('');
  // It starts without the network that it has left, published ports or not.
  expect((await tvmm(['restart', '-t', '0', 'a'])).status).toBe(0);
  await removeAll();
  expect((await tvmm(['network', 'prune'])).stdout).toBe('back\n');
  expect(host.leftovers()).toEqual([]);
});

it('refuses to connect what has no network of its own, and an address of another network', async () => {
  await tvmm(['network', 'create', 'back']);
  await tvmm(['run', '-d', '--name', 'h', '--network', 'host', '--rootfs', rootfs, 'sleep', '1000']);
  await tvmm(['run', '-d', '--name', 'i', '--network', 'none', '--rootfs', rootfs, 'sleep', '1000']);
  expect((await tvmm(['network', 'connect', 'back', 'h'])).stderr).toContain('no network of its own');
  expect((await tvmm(['network', 'connect', '--ip', '192.0.2.9', 'back', 'i'])).status).toBe(125);
  expect((await tvmm(['network', 'connect', '--alias', 'a b', 'back', 'i'])).stderr).toContain('is no name');
  expect((await host.inspect('i')).state).toBe('running');
  const { stdout } = await tvmm(['exec', 'i', 'ls', '/sys/class/net']);
  expect(stdout).toBe('lo\n');
  await removeAll();
  await tvmm(['network', 'prune']);
  expect(host.leftovers()).toEqual([]);
});
