/** What failures and crashes leave of containers' networks, and that all of it is found and removed. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { collectGarbage } from '../src/container/network/gc.js';
import { releaseNetns } from '../src/sys/netns.js';
import { needs } from './support/needs.js';
import { ask, NetworkHost } from './support/network-host.js';

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

test(
  'a plugin that fails at the end of a chain leaves nothing of the plugins before it',
  async () => {
    mkdirSync(join(host.folder, 'bin'));
    mkdirSync(join(host.folder, 'net.d'));
    const bad = '#!/bin/sh\n[ $CNI_COMMAND = DEL ] || { echo \'{"code":100,"msg":"no luck"}\'; exit 1; }\n';
    writeFileSync(join(host.folder, 'bin/bad'), bad);
    chmodSync(join(host.folder, 'bin/bad'), 0o755);
    const definition = await host.create('tvmm', 0);
    const { plugins } = host.networks.store.configOf(definition);
    const list = {
      cniVersion: '1.0.0',
      name: 'site',
      plugins: [...plugins.map(({ raw }) => raw), { type: 'bad' }],
    };
    writeFileSync(join(host.folder, 'net.d/site.conflist'), JSON.stringify(list));
    await expect(host.setUp(host.container('one'), ['site'], ['80'])).rejects.toThrow(
      'the CNI plugin bad (ADD) failed: no luck',
    );
    expect(host.footprint()).toEqual([]);
    expect(host.records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'after a crash the next garbage collection removes what a dead container had, and spares a live one',
  async () => {
    await host.create('tvmm', 0);
    const dead = host.container('dead');
    const live = host.container('live');
    await host.setUp(dead, [], ['80']);
    const kept = await host.setUp(live, [], ['80']);
    await host.serve(live, 'hello');
    // The engine was killed and the container's processes have ended; only what is on disk and in the kernel is left.
    releaseNetns(dead.file);
    host.networks = host.open();
    const report = await collectGarbage(host.networks, () => new Set([live.id]));
    expect(report).toMatchObject({ detached: [dead.id], namespaces: [dead.id], problems: [] });
    expect(await ask(undefined, '127.0.0.1', kept.ports[0]?.hostPort ?? 0)).toBe('hello');
    await host.networks.check(live.id);
    await host.networks.tearDown(live.id);
    expect(host.footprint()).toEqual([]);
    expect(host.records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'a container that is set up again after a crash loses what its earlier life had',
  async () => {
    await host.create('tvmm', 0);
    const one = host.container('one');
    const first = await host.setUp(one, [], ['80']);
    const again = { id: one.id, file: host.container('again').file };
    const second = await host.setUp(again, [], ['80']);
    expect(second.interfaces[0]?.addresses).not.toEqual(first.interfaces[0]?.addresses);
    await host.networks.tearDown(one.id);
    expect(host.footprint()).toEqual([]);
    expect(host.records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'even where the records are torn, links, addresses and rules are found and removed',
  async () => {
    await host.create('tvmm', 0, { ipv6: true });
    const lost = host.container('lost');
    await host.setUp(lost, [], ['80']);
    for (const name of readdirSync(join(host.folder, 'state/attachments'))) {
      writeFileSync(join(host.folder, 'state/attachments', name), 'torn');
    }
    const report = await collectGarbage(host.networks, () => new Set());
    expect(report.problems).toEqual([]);
    expect(report.namespaces).toEqual([lost.id]);
    expect(report.links).toHaveLength(1);
    expect(report.addresses).toHaveLength(2);
    expect(report.tables).toEqual(['iptables nat', 'iptables filter', 'ip6tables nat', 'ip6tables filter']);
    expect(host.footprint()).toEqual([]);
    expect(host.records()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'an engine that is killed before or after any plugin leaves nothing that is not found',
  async () => {
    await host.create('tvmm', 0);
    const program = join(import.meta.dirname, '../node_modules/.cache', `tvmm-${host.prefix}.mjs`);
    buildSync({
      entryPoints: [join(import.meta.dirname, 'support/network-crash.ts')],
      outfile: program,
      ...{ bundle: true, platform: 'node', format: 'esm', target: 'node20', external: ['koffi'] },
    });
    for (let step = 0; step < 6; step += 1) {
      const one = host.container(`k${step}`);
      const given = { folder: host.folder, prefix: host.prefix, containerId: one.id, netns: one.file, step };
      const ended = spawnSync(process.execPath, [program, JSON.stringify(given)], { encoding: 'utf8' });
      expect(`${ended.signal} ${ended.stderr}`).toBe('SIGKILL ');
      const report = await collectGarbage(host.networks, () => new Set());
      expect(report.problems).toEqual([]);
      expect(report.detached).toEqual([one.id]);
      expect([step, ...host.footprint(), ...host.records()]).toEqual([step]);
    }
    rmSync(program);
  },
  TIMEOUT,
);
