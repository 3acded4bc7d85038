/**
 * Networks of containers with the real plugins, bridges and firewall. A namespace with processes put into it stands for a container. Each
 * test compares links, rules and files before and after: nothing may stay.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { NetworkDefinition } from '../src/container/network/definition.js';
import { collectGarbage } from '../src/container/network/gc.js';
import { parseCidr } from '../src/container/network/ip.js';
import { parseNetworkMode } from '../src/container/network/mode.js';
import type { NetworkOptions } from '../src/container/network/network-store.js';
import { type NetworkResult, Networks } from '../src/container/network/networks.js';
import { parsePortSpecs } from '../src/container/network/ports.js';
import { createNetns, releaseNetns } from '../src/sys/netns.js';
import { needs } from './support/needs.js';

const TIMEOUT = 120_000;
let folder = '';
let networks: Networks;
let suffix = '';
let prefix = '';
let subnet = '';
const ULA = 'fd74:766d:6d00::';
let containers: { id: string; file: string }[] = [];
let processes: ChildProcess[] = [];

const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

/** What this test's networks have on the host: bridges and their ports, rules with a container's id or address, the table. */
function footprint(): string[] {
  const rules = ['iptables-save', 'ip6tables-save'].flatMap((command) =>
    run(command)
      .split('\n')
      .filter(
        (line) => line.includes(suffix) || line.includes(` ${subnet.slice(0, 8)}`) || line.includes(ULA),
      ),
  );
  const links = run('ip', '-o', 'link')
    .split('\n')
    .filter((line) => line.includes(prefix))
    .map((line) => line.split(':')[1]?.trim() ?? '');
  const tables = run('nft', 'list', 'tables')
    .split('\n')
    .filter((line) => line.includes(prefix));
  return [...links, ...rules, ...tables];
}

/** Files of our own that stand for something. */
const records = () =>
  ['state/attachments', 'state/ipam/tvmm', 'netns'].flatMap((path) => {
    try {
      return readdirSync(join(folder, path)).filter((name) => !/^(lock|last_reserved_ip\..*)$/.test(name));
    } catch {
      return [];
    }
  });

function open(): Networks {
  return new Networks({
    stateFolder: join(folder, 'state'),
    netnsFolder: join(folder, 'netns'),
    definitionFolder: join(folder, 'definitions'),
    configFolder: join(folder, 'net.d'),
    table: prefix,
    bridgePrefix: prefix,
    cniPath: ['/opt/cni/bin', '/usr/lib/cni', join(folder, 'bin')],
    describe: (id) => `container ${id.replace(suffix, '')}`,
  });
}

beforeEach((context) => {
  needs(context, 'root', 'firewall');
  folder = mkdtempSync(join(tmpdir(), 'tvmm-net-'));
  containers = [];
  processes = [];
  suffix = folder.slice(-6);
  const random = Math.floor(Math.random() * 2 ** 16);
  // Of its own, so that other engines on this machine are not in the way.
  prefix = `tv${random.toString(16)}x`;
  subnet = `10.${100 + (random & 127)}.${(random >> 7) & 252}.0/22`;
  networks = open();
});
afterEach(async () => {
  if (folder === '') return;
  for (const process of processes) process.kill('SIGKILL');
  for (const { id, file } of containers) {
    await networks.tearDown(id).catch(() => undefined);
    releaseNetns(file);
  }
  await collectGarbage(networks, () => new Set());
  rmSync(folder, { recursive: true });
  folder = '';
});

/** A namespace that stands for a container; ids are unique on the machine, because chains are named for them. */
function container(name: string): { id: string; file: string } {
  const one = { id: `${name}${suffix}`, file: join(folder, `ns-${name}`) };
  createNetns(one.file);
  containers.push(one);
  return one;
}

/** Makes a network where no other test's is; the n-th of this test. */
function create(
  name: string,
  n: number,
  options: Omit<NetworkOptions, 'name'> = {},
): Promise<NetworkDefinition> {
  const texts = [subnet.replace('.0/22', `.${n * 32}/27`), ...(options.ipv6 === true ? [`${ULA}/64`] : [])];
  return networks.store.create({ ...options, name, subnets: texts.flatMap((text) => parseCidr(text) ?? []) });
}

function setUp(
  one: { id: string; file: string },
  network: string[] = [],
  ports: string[] = [],
): Promise<NetworkResult> {
  return networks.setUp({
    containerId: one.id,
    netns: one.file,
    mode: parseNetworkMode(network),
    ports: parsePortSpecs(ports),
  });
}

/** A server in a container's namespace that answers every connection with `word`. */
async function serve(one: { file: string }, word: string): Promise<void> {
  const script = `require('net').createServer((s) => s.end('${word}')).listen(80, '::', () => console.log('up'))`;
  const server = spawn('nsenter', [`--net=${one.file}`, process.execPath, '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH },
  });
  processes.push(server);
  await new Promise((resolve) => server.stdout.once('data', resolve));
}

/** What a connection answers, made in a container's namespace or on the host; `nothing` where there is none. */
async function ask(from: { file: string } | undefined, ip: string, port: number): Promise<string> {
  const script = `const s = require('net').connect({host:'${ip}',port:${port},timeout:1500});
    s.on('data', (d) => { process.stdout.write(d); s.destroy() });
    s.on('error', () => process.exit(1)); s.on('timeout', () => process.exit(1));`;
  const words = [process.execPath, '-e', script];
  const [command = '', ...args] = from === undefined ? words : ['nsenter', `--net=${from.file}`, ...words];
  const client = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH },
  });
  let text = '';
  client.stdout.on('data', (data: Buffer) => {
    text += data.toString();
  });
  await new Promise((resolve) => client.once('close', resolve));
  return text === '' ? 'nothing' : text;
}

const addressOf = (result: NetworkResult) => result.interfaces[0]?.addresses[0]?.split('/')[0] ?? '';

test(
  'a server with a published port is reached through the host, and nothing stays',
  async () => {
    await create('tvmm', 0);
    const web = container('web');
    const result = await setUp(web, [], ['80']);
    const port = result.ports[0]?.hostPort ?? 0;
    await serve(web, 'hello');
    expect(await ask(undefined, '127.0.0.1', port)).toBe('hello');
    const other = container('other');
    const second = await setUp(other);
    expect(await ask(other, second.interfaces[0]?.gateways[0] ?? '', port)).toBe('hello');
    expect(await ask(other, addressOf(result), 80)).toBe('hello');
    await networks.check(web.id);
    await networks.tearDown(web.id);
    await networks.tearDown(web.id);
    expect(await ask(undefined, '127.0.0.1', port)).toBe('nothing');
    await networks.tearDown(other.id);
    expect(footprint()).toEqual([]);
    expect(records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'a container finds the world by its gateway and itself by lo',
  async () => {
    await create('tvmm', 0);
    const one = container('one');
    const result = await setUp(one, ['bridge:mac=02:00:00:00:00:42']);
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
    await create('tvmm', 0);
    const one = container('one');
    const bandwidth = {
      ingressRate: 8_000_000,
      ingressBurst: 800_000,
      egressRate: 8_000_000,
      egressBurst: 800_000,
    };
    await networks.setUp({ containerId: one.id, netns: one.file, mode: parseNetworkMode([]), bandwidth });
    const port = /(veth\w+)@/.exec(run('ip', '-o', 'link', 'show', 'master', `${prefix}0`))?.[1] ?? 'none';
    expect(run('tc', 'qdisc', 'show', 'dev', port)).toContain('tbf');
    await networks.tearDown(one.id);
    expect(footprint()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'a port that is taken is refused with its owner, be it a container or a program of the host',
  async () => {
    await create('tvmm', 0);
    const web = container('web');
    const port = (await setUp(web, [], ['80'])).ports[0]?.hostPort ?? 0;
    await expect(setUp(container('two'), [], [`${port}:80`])).rejects.toThrow(
      `port ${port}/tcp is taken by container web`,
    );
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const address = server.address();
    const taken = typeof address === 'object' && address !== null ? address.port : 0;
    await expect(setUp(container('three'), [], [`${taken}:80`])).rejects.toThrow(
      new RegExp(`port ${taken}/tcp is taken by .* \\(pid ${process.pid}\\)`),
    );
    server.close();
    expect(records().filter((name) => !name.includes('web'))).toHaveLength(1);
  },
  TIMEOUT,
);

test(
  'on an isolated network containers reach the host, and each other by no way',
  async () => {
    await create('apart', 0, { isolate: true });
    const web = container('web');
    const result = await setUp(web, ['apart'], ['80']);
    await serve(web, 'hello');
    const other = container('other');
    const second = await setUp(other, ['apart']);
    const gateway = second.interfaces[0]?.gateways[0] ?? '';
    expect(await ask(undefined, addressOf(result), 80)).toBe('hello');
    expect(await ask(other, addressOf(result), 80)).toBe('nothing');
    // By way of the host: the frame goes to the bridge's own address.
    run('nsenter', `--net=${other.file}`, 'ip', 'route', 'add', addressOf(result), 'via', gateway);
    expect(await ask(other, addressOf(result), 80)).toBe('nothing');
    const port = result.ports[0]?.hostPort ?? 0;
    expect(await ask(other, gateway, port)).toBe('nothing');
    expect(await ask(undefined, '127.0.0.1', port)).toBe('hello');
    await networks.tearDown(web.id);
    await networks.tearDown(other.id);
    expect(footprint()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'two networks do not reach each other, and a container on both reaches both',
  async () => {
    await create('tvmm', 0);
    await create('blue', 1, { ipv6: true });
    const web = container('web');
    const result = await setUp(web, ['blue']);
    await serve(web, 'hello');
    expect(result.interfaces[0]?.addresses).toHaveLength(2);
    const other = container('other');
    await setUp(other, ['bridge']);
    expect(await ask(other, addressOf(result), 80)).toBe('nothing');
    const both = container('both');
    const interfaces = (await setUp(both, ['bridge', 'blue'])).interfaces.map(({ name, network }) => [
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
    await create('inside', 0, { internal: true });
    const one = container('one');
    await setUp(one, ['inside']);
    expect(run('nsenter', `--net=${one.file}`, 'ip', 'route')).not.toContain('default');
    expect(run('nft', 'list', 'table', 'inet', prefix)).toContain('drop');
  },
  TIMEOUT,
);

test(
  'a plugin that fails at the end of a chain leaves nothing of the plugins before it',
  async () => {
    mkdirSync(join(folder, 'bin'));
    mkdirSync(join(folder, 'net.d'));
    const bad = '#!/bin/sh\n[ $CNI_COMMAND = DEL ] || { echo \'{"code":100,"msg":"no luck"}\'; exit 1; }\n';
    writeFileSync(join(folder, 'bin/bad'), bad);
    chmodSync(join(folder, 'bin/bad'), 0o755);
    const definition = await create('tvmm', 0);
    const { plugins } = networks.store.configOf(definition);
    const list = {
      cniVersion: '1.0.0',
      name: 'site',
      plugins: [...plugins.map(({ raw }) => raw), { type: 'bad' }],
    };
    writeFileSync(join(folder, 'net.d/site.conflist'), JSON.stringify(list));
    await expect(setUp(container('one'), ['site'], ['80'])).rejects.toThrow(
      'the CNI plugin bad (ADD) failed: no luck',
    );
    expect(footprint()).toEqual([]);
    expect(records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'after a crash the next garbage collection removes what a dead container had, and spares a live one',
  async () => {
    await create('tvmm', 0);
    const dead = container('dead');
    const live = container('live');
    await setUp(dead, [], ['80']);
    const kept = await setUp(live, [], ['80']);
    await serve(live, 'hello');
    // The engine was killed and the container's processes have ended; only what is on disk and in the kernel is left.
    releaseNetns(dead.file);
    networks = open();
    const report = await collectGarbage(networks, () => new Set([live.id]));
    expect(report).toMatchObject({ detached: [dead.id], namespaces: [dead.id], problems: [] });
    expect(await ask(undefined, '127.0.0.1', kept.ports[0]?.hostPort ?? 0)).toBe('hello');
    await networks.check(live.id);
    await networks.tearDown(live.id);
    expect(footprint()).toEqual([]);
    expect(records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'even where the records are torn, links, addresses and rules are found and removed',
  async () => {
    await create('tvmm', 0, { ipv6: true });
    const lost = container('lost');
    await setUp(lost, [], ['80']);
    for (const name of readdirSync(join(folder, 'state/attachments'))) {
      writeFileSync(join(folder, 'state/attachments', name), 'torn');
    }
    const report = await collectGarbage(networks, () => new Set());
    expect(report.problems).toEqual([]);
    expect(report.namespaces).toEqual([lost.id]);
    expect(report.links).toHaveLength(1);
    expect(report.addresses).toHaveLength(2);
    expect(report.tables).toEqual(['iptables nat', 'iptables filter', 'ip6tables nat', 'ip6tables filter']);
    expect(footprint()).toEqual([]);
    expect(records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'containers that are set up at the same time get an address and a port each',
  async () => {
    await create('tvmm', 0);
    const many = Array.from({ length: 6 }, (_, i) => container(`c${i}`));
    const results = await Promise.all(many.map((one) => setUp(one, [], ['80'])));
    expect(new Set(results.map(addressOf)).size).toBe(6);
    expect(new Set(results.map(({ ports }) => ports[0]?.hostPort)).size).toBe(6);
    await Promise.all(many.map(({ id }) => networks.tearDown(id)));
    expect(footprint()).toEqual([]);
    expect(records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'an engine that is killed before or after any plugin leaves nothing that is not found',
  async () => {
    await create('tvmm', 0);
    const program = join(import.meta.dirname, '../node_modules/.cache', `tvmm-${prefix}.mjs`);
    buildSync({
      entryPoints: [join(import.meta.dirname, 'support/network-crash.ts')],
      outfile: program,
      ...{ bundle: true, platform: 'node', format: 'esm', target: 'node20', external: ['koffi'] },
    });
    for (let step = 0; step < 6; step += 1) {
      const one = container(`k${step}`);
      const given = { folder, prefix, containerId: one.id, netns: one.file, step };
      const ended = spawnSync(process.execPath, [program, JSON.stringify(given)], { encoding: 'utf8' });
      expect(`${ended.signal} ${ended.stderr}`).toBe('SIGKILL ');
      const report = await collectGarbage(networks, () => new Set());
      expect(report.problems).toEqual([]);
      expect(report.detached).toEqual([one.id]);
      expect([step, ...footprint(), ...records()]).toEqual([step]);
    }
    rmSync(program);
  },
  TIMEOUT,
);

test(
  'networks that cannot be are refused',
  async () => {
    const taken = parseCidr('127.0.0.0/24');
    if (taken === undefined) throw new Error('no subnet');
    await expect(networks.store.create({ name: 'a', subnets: [taken] })).rejects.toThrow(
      'the subnet 127.0.0.0/24 meets 127.0.0.1/8, which is in use',
    );
    await expect(networks.store.create({ name: 'none' })).rejects.toThrow(
      '"none" cannot be the name of a network',
    );
    const odd = parseCidr('10.250.0.3/24');
    if (odd === undefined) throw new Error('no subnet');
    await expect(networks.store.create({ name: 'a', subnets: [odd] })).rejects.toThrow(
      '"10.250.0.3/24" is no subnet',
    );
    await expect(setUp(container('one'), ['nowhere'])).rejects.toThrow('there is no network nowhere in');
    await expect(setUp(container('two'), ['none'], ['80'])).rejects.toThrow(
      '-p publishes ports of a bridge network',
    );
    await create('tvmm', 0);
    await expect(setUp(container('three'), ['bridge:ip=1.2.3.4'])).rejects.toThrow(
      /CNI plugin bridge \(ADD\) failed/,
    );
    expect(records()).toEqual([]);
    expect(footprint()).toEqual([]);
  },
  TIMEOUT,
);

test('the default network is made when it is first asked for, and then stays', async () => {
  const [made, again] = await Promise.all([networks.store.find('tvmm'), networks.store.find('tvmm')]);
  expect(made).toEqual(again);
  expect(made.definition).toMatchObject({
    name: 'tvmm',
    bridge: `${prefix}0`,
    isolate: false,
    internal: false,
  });
  await expect(networks.store.create({ name: 'tvmm', isolate: true })).rejects.toThrow(
    'there is a network tvmm already',
  );
  await networks.removeNetwork('tvmm');
  expect(networks.store.definitions()).toEqual([]);
});

test('where the plugins are missing the error says what to install', async () => {
  const bare = new Networks({
    stateFolder: join(folder, 's'),
    definitionFolder: join(folder, 'd'),
    cniPath: [folder],
  });
  const { file, id } = container('one');
  const failure = bare.setUp({ containerId: id, netns: file, mode: parseNetworkMode([]) });
  await expect(failure).rejects.toMatchObject({
    message: `bridge networks need CNI plugins; not in ${folder}: bridge, host-local, portmap, firewall`,
    hint: expect.stringContaining('containernetworking-plugins') as unknown,
  });
});

test('without a network a container still has lo', async () => {
  const one = container('one');
  await setUp(one, ['none']);
  expect(run('nsenter', `--net=${one.file}`, 'ip', '-o', 'addr')).toContain('127.0.0.1/8');
});
