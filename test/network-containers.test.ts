/**
 * Networks of containers with the real plugins, bridges and firewall. After each test's work nothing of its networks may be left on the
 * host: no link, rule, record or namespace.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { formatCidr, parseCidr } from '../src/container/network/ip.js';
import { parseNetworkMode } from '../src/container/network/mode.js';
import { type NetworkResult, Networks } from '../src/container/network/networks.js';
import { needs } from './support/needs.js';
import { ask, NetworkHost, run } from './support/network-host.js';

const TIMEOUT = 120_000;
let host: NetworkHost;
let dispose: (() => Promise<void>) | undefined;

beforeEach((context) => {
  dispose = undefined;
  needs(context, 'root', 'firewall');
  const made = new NetworkHost();
  host = made;
  dispose = () => made[Symbol.asyncDispose]();
});
afterEach(async () => dispose?.());

const addressOf = (result: NetworkResult) => result.interfaces[0]?.addresses[0]?.split('/')[0] ?? '';

test(
  'a server with a published port is reached through the host, and nothing stays',
  async () => {
    await host.create('tvmm', 0);
    const web = host.container('web');
    const result = await host.setUp(web, [], ['80']);
    const port = result.ports[0]?.hostPort ?? 0;
    await host.serve(web, 'hello');
    expect(await ask(undefined, '127.0.0.1', port)).toBe('hello');
    const other = host.container('other');
    const second = await host.setUp(other);
    expect(await ask(other, second.interfaces[0]?.gateways[0] ?? '', port)).toBe('hello');
    expect(await ask(other, addressOf(result), 80)).toBe('hello');
    await host.networks.check(web.id);
    await host.networks.tearDown(web.id);
    await host.networks.tearDown(web.id);
    expect(await ask(undefined, '127.0.0.1', port)).toBe('nothing');
    await host.networks.tearDown(other.id);
    expect(host.footprint()).toEqual([]);
    expect(host.records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'a container finds the world by its gateway and itself by lo',
  async () => {
    await host.create('tvmm', 0);
    const one = host.container('one');
    const result = await host.setUp(one, ['bridge:mac=02:00:00:00:00:42']);
    expect(result.interfaces[0]).toMatchObject({ network: 'tvmm', name: 'eth0', mac: '02:00:00:00:00:42' });
    const routes = run('nsenter', `--net=${one.file}`, 'ip', 'route');
    expect(routes).toContain(`default via ${result.interfaces[0]?.gateways[0]} dev eth0`);
    expect(run('nsenter', `--net=${one.file}`, 'ip', '-o', 'addr')).toContain('127.0.0.1/8');
  },
  TIMEOUT,
);

test(
  'bandwidth is limited where it is asked for',
  async () => {
    await host.create('tvmm', 0);
    const one = host.container('one');
    const bandwidth = {
      ingressRate: 8_000_000,
      ingressBurst: 800_000,
      egressRate: 8_000_000,
      egressBurst: 800_000,
    };
    await host.networks.setUp({
      containerId: one.id,
      netns: one.file,
      mode: parseNetworkMode([]),
      bandwidth,
    });
    const port =
      /(veth\w+)@/.exec(run('ip', '-o', 'link', 'show', 'master', `${host.prefix}0`))?.[1] ?? 'none';
    expect(run('tc', 'qdisc', 'show', 'dev', port)).toContain('tbf');
    await host.networks.tearDown(one.id);
    expect(host.footprint()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'a port that is taken is refused with its owner, be it a container or a program of the host',
  async () => {
    await host.create('tvmm', 0);
    const web = host.container('web');
    const port = (await host.setUp(web, [], ['80'])).ports[0]?.hostPort ?? 0;
    await expect(host.setUp(host.container('two'), [], [`${port}:80`])).rejects.toThrow(
      `port ${port}/tcp is taken by container web`,
    );
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const address = server.address();
    const taken = typeof address === 'object' && address !== null ? address.port : 0;
    await expect(host.setUp(host.container('three'), [], [`${taken}:80`])).rejects.toThrow(
      new RegExp(`port ${taken}/tcp is taken by .* \\(pid ${process.pid}\\)`),
    );
    server.close();
    expect(host.records().filter((name) => !name.includes('web'))).toHaveLength(1);
  },
  TIMEOUT,
);

test(
  'on an isolated network containers reach the host, and each other by no way',
  async () => {
    await host.create('apart', 0, { isolate: true });
    const web = host.container('web');
    const result = await host.setUp(web, ['apart'], ['80']);
    await host.serve(web, 'hello');
    const other = host.container('other');
    const second = await host.setUp(other, ['apart']);
    const gateway = second.interfaces[0]?.gateways[0] ?? '';
    expect(await ask(undefined, addressOf(result), 80)).toBe('hello');
    expect(await ask(other, addressOf(result), 80)).toBe('nothing');
    // By way of the host: the frame goes to the bridge's own address.
    run('nsenter', `--net=${other.file}`, 'ip', 'route', 'add', addressOf(result), 'via', gateway);
    expect(await ask(other, addressOf(result), 80)).toBe('nothing');
    const port = result.ports[0]?.hostPort ?? 0;
    expect(await ask(other, gateway, port)).toBe('nothing');
    expect(await ask(undefined, '127.0.0.1', port)).toBe('hello');
    await host.networks.tearDown(web.id);
    await host.networks.tearDown(other.id);
    expect(host.footprint()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'two networks do not reach each other, and a container on both reaches both',
  async () => {
    await host.create('tvmm', 0);
    await host.create('blue', 1, { ipv6: true });
    const web = host.container('web');
    const result = await host.setUp(web, ['blue']);
    await host.serve(web, 'hello');
    expect(result.interfaces[0]?.addresses).toHaveLength(2);
    const other = host.container('other');
    await host.setUp(other, ['bridge']);
    expect(await ask(other, addressOf(result), 80)).toBe('nothing');
    const both = host.container('both');
    const interfaces = (await host.setUp(both, ['bridge', 'blue'])).interfaces.map(({ name, network }) => [
      name,
      network,
    ]);
    expect(interfaces).toEqual([
      ['eth0', 'tvmm'],
      ['eth1', 'blue'],
    ]);
    expect(await ask(both, addressOf(result), 80)).toBe('hello');
    expect(await ask(both, result.interfaces[0]?.addresses[1]?.split('/')[0] ?? '', 80)).toBe('hello');
  },
  TIMEOUT,
);

test(
  'an internal network has no way out',
  async () => {
    await host.create('inside', 0, { internal: true });
    const one = host.container('one');
    await host.setUp(one, ['inside']);
    expect(run('nsenter', `--net=${one.file}`, 'ip', 'route')).not.toContain('default');
    expect(run('nft', 'list', 'table', 'inet', host.prefix)).toContain('drop');
  },
  TIMEOUT,
);

test(
  'containers that are set up at the same time get an address and a port each',
  async () => {
    await host.create('tvmm', 0);
    const many = Array.from({ length: 6 }, (_, i) => host.container(`c${i}`));
    const results = await Promise.all(many.map((one) => host.setUp(one, [], ['80'])));
    expect(new Set(results.map(addressOf)).size).toBe(6);
    expect(new Set(results.map(({ ports }) => ports[0]?.hostPort)).size).toBe(6);
    await Promise.all(many.map(({ id }) => host.networks.tearDown(id)));
    expect(host.footprint()).toEqual([]);
    expect(host.records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'networks that cannot be are refused',
  async () => {
    const taken = parseCidr('127.0.0.0/24');
    if (taken === undefined) throw new Error('no subnet');
    await expect(host.networks.store.create({ name: 'a', subnets: [taken] })).rejects.toThrow(
      'the subnet 127.0.0.0/24 meets 127.0.0.1/8, which is in use',
    );
    await expect(host.networks.store.create({ name: 'none' })).rejects.toThrow(
      '"none" cannot be the name of a network',
    );
    const odd = parseCidr('10.250.0.3/24');
    if (odd === undefined) throw new Error('no subnet');
    await expect(host.networks.store.create({ name: 'a', subnets: [odd] })).rejects.toThrow(
      '"10.250.0.3/24" is no subnet',
    );
    await expect(host.setUp(host.container('one'), ['nowhere'])).rejects.toThrow(
      'there is no network nowhere in',
    );
    await expect(host.setUp(host.container('two'), ['none'], ['80'])).rejects.toThrow(
      '-p publishes ports of a bridge network',
    );
    await host.create('tvmm', 0);
    await expect(host.setUp(host.container('four'), [], ['[::1]:80:80'])).rejects.toThrow(
      'port 80/tcp of ::1 cannot be published: the network tvmm has no IPv6',
    );
    await expect(host.setUp(host.container('three'), ['bridge:ip=1.2.3.4'])).rejects.toThrow(
      /CNI plugin bridge \(ADD\) failed/,
    );
    expect(host.records()).toEqual([]);
    expect(host.footprint()).toEqual([]);
  },
  TIMEOUT,
);

test('the default network is made when it is first asked for, and then stays', async () => {
  const [made, again] = await Promise.all([
    host.networks.store.find('tvmm'),
    host.networks.store.find('tvmm'),
  ]);
  expect(made).toEqual(again);
  expect(made.definition).toMatchObject({
    name: 'tvmm',
    bridge: `${host.prefix}0`,
    isolate: false,
    internal: false,
  });
  await expect(host.networks.store.create({ name: 'tvmm', isolate: true })).rejects.toThrow(
    'there is a network tvmm already',
  );
  await host.networks.removeNetwork('tvmm');
  expect(host.networks.store.definitions()).toEqual([]);
});

test('a default network that the host has got in the way of moves, and one of the user’s is refused', async () => {
  const { bridge } = await host.create('tvmm', 0);
  await host.create('own', 1);
  // The host's own addresses are surely in use.
  for (const name of ['tvmm', 'own']) {
    const file = join(host.folder, 'definitions', `${name}.json`);
    const definition: unknown = JSON.parse(readFileSync(file, 'utf8'));
    writeFileSync(file, JSON.stringify(Object.assign({}, definition, { subnets: ['127.0.0.0/24'] })));
  }
  const { definition } = await host.networks.store.find('tvmm');
  expect(definition?.bridge).toBe(bridge);
  expect(definition?.subnets.map(formatCidr)).not.toContain('127.0.0.0/24');
  expect((await host.networks.store.find('tvmm')).definition).toEqual(definition);
  await expect(host.networks.store.find('own')).rejects.toThrow(
    'the network own has 127.0.0.0/24, which meets 127.0.0.1/8 of the host',
  );
});

test('where the plugins are missing the error says what to install', async () => {
  const bare = new Networks({
    stateFolder: join(host.folder, 's'),
    definitionFolder: join(host.folder, 'd'),
    cniPath: [host.folder],
  });
  const { file, id } = host.container('one');
  const failure = bare.setUp({ containerId: id, netns: file, mode: parseNetworkMode([]) });
  await expect(failure).rejects.toMatchObject({
    message: `bridge networks need CNI plugins; not in ${host.folder}: bridge, host-local, portmap, firewall`,
    hint: expect.stringContaining('containernetworking-plugins') as unknown,
  });
});

test('without a network a container still has lo', async () => {
  const one = host.container('one');
  await host.setUp(one, ['none']);
  expect(run('nsenter', `--net=${one.file}`, 'ip', '-o', 'addr')).toContain('127.0.0.1/8');
});
