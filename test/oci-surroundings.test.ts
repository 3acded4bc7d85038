/**
 * `tvmm-oci` where the machine gives out or is against it: a state folder on a full, a read-only or an inode-less disk, few descriptors, a
 * cgroup that others remove, /proc that hides, a bundle that goes, a record that somebody wrote, a lock that is never given back. Each
 * command says what it stumbled over, leaves nothing, and the next one works.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readLayout } from '../src/container/cgroup/layout.js';
import { Runtime } from '../src/container/runtime/runtime.js';
import { TvmmError } from '../src/sys/errors.js';
import { needs } from './support/needs.js';
import { OciTest } from './support/oci.js';

let t: OciTest;
let mounted: boolean;
beforeEach((context) => {
  needs(context, 'root');
  t = new OciTest();
  mounted = false;
});
afterEach(async () => {
  if (mounted) spawnSync('umount', ['-l', t.state]);
  await t?.end();
});

function sh(script: string): void {
  const { status, stderr } = spawnSync('sh', ['-c', script], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${script}: ${stderr}`);
}

function stateOn(options: string): void {
  mkdirSync(t.state, { recursive: true });
  sh(`mount -t tmpfs -o ${options} tmpfs ${t.state}`);
  mounted = true;
}

/** What a test of this file has left, but for the mount that it made itself. */
function left(): string[] {
  return t.left().filter((one) => !one.includes(` ${t.state} `) && one !== 'filler');
}

test('a state folder on a disk that is full, or out of inodes, at whatever file: a sentence with the file, and nothing stays', async () => {
  const bundle = await t.bundle('sleep 1000');
  const said = new Set<string>();
  for (const [options, fill] of [
    ['size=64k', (pages: number) => `head -c ${pages * 4096} /dev/zero >${t.state}/filler`],
    [
      'nr_inodes=8,size=1m',
      (files: number) =>
        `mkdir ${t.state}/filler; for i in $(seq ${files}); do : >${t.state}/filler/$i; done`,
    ],
  ] as const) {
    stateOn(options);
    for (
      let amount = options.startsWith('size') ? 16 : 6;
      amount >= 0;
      amount -= options.startsWith('size') ? 4 : 2
    ) {
      rmSync(join(t.state, 'filler'), { recursive: true, force: true });
      try {
        sh(fill(amount));
      } catch {
        continue;
      }
      const { status, stderr } = await t.oci(['create', '-b', bundle, 'one']);
      if (status === 0) {
        await t.ok('start', 'one');
        await t.ok('delete', '--force', 'one');
      } else {
        said.add(/\bE[A-Z]{4,}\b/.exec(stderr)?.[0] ?? '');
        expect(stderr, `${options}, ${amount} taken`).toMatch(
          new RegExp(`ENOSPC.*${t.state}|${t.state}.*ENOSPC`),
        );
        expect(stderr).not.toContain('internal error');
      }
      expect(left(), `${options}, ${amount} taken`).toEqual([]);
    }
    sh(`umount ${t.state}`);
    mounted = false;
  }
  expect([...said]).toEqual(['ENOSPC']);
});

test('a container can be killed and deleted when the disk has become full or read-only since', async () => {
  stateOn('size=64k');
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'one');
  spawnSync('sh', ['-c', `head -c 1m /dev/zero >${t.state}/filler`]);
  expect(await t.status('one')).toBe('running');
  expect(await t.ok('exec', 'one', 'echo', 'well')).toBe('well\n');
  sh(`mount -o remount,ro ${t.state}`);
  expect(await t.status('one')).toBe('running');
  const refused = await t.oci(['delete', '--force', 'one']);
  expect(refused.status).not.toBe(0);
  expect(refused.stderr).toMatch(/EROFS|read-only/);
  expect(refused.stderr).toContain(t.state);
  const create = await t.oci(['create', '-b', await t.bundle('true'), 'two']);
  expect(create.stderr).toMatch(/EROFS/);
  sh(`mount -o remount,rw ${t.state}`);
  await t.ok('delete', '--force', 'one');
  expect(left()).toEqual([]);
});

test('with few descriptors a command fails with a sentence, and leaves nothing', async () => {
  const bundle = await t.bundle('sleep 1000');
  for (const limit of [20, 24, 28, 40]) {
    const { status, stderr } = await t.oci(['create', '-b', bundle, 'one'], {
      under: ['sh', '-c', `ulimit -n ${limit}; exec "$@"`, 'sh'],
    });
    if (status === 0) await t.ok('delete', '--force', 'one');
    else expect(stderr, `${limit} descriptors`).toMatch(/EMFILE|too many open files|RLIMIT_NOFILE/i);
    await t.oci(['delete', '--force', 'one']);
    expect(left(), `${limit} descriptors`).toEqual([]);
  }
});

test('a cgroup that others have removed keeps nobody from deleting the container', async () => {
  await t.ok('run', '-d', '-b', await t.bundle('exec sleep 1000'), 'one');
  await t.ok('kill', 'one', 'KILL');
  await t.stopped('one');
  const { v1, v2 } = readLayout();
  for (const { mountPoint, own } of [...v1.values(), ...(v2 === undefined ? [] : [v2])]) {
    for (const below of ['', own])
      for (const folder of [`${t.name}/c1`, t.name])
        if (existsSync(join(mountPoint, below, folder))) rmdirSync(join(mountPoint, below, folder));
  }
  expect(await t.status('one')).toBe('stopped');
  expect((await t.oci(['events', '--stats', 'one'])).stderr).not.toContain('internal error');
  await t.ok('delete', 'one');
  expect(left()).toEqual([]);
});

test('a bundle that goes between create and delete is not missed', async () => {
  const bundle = await t.bundle('exec sleep 1000');
  await t.ok('create', '-b', bundle, 'one');
  await t.ok('start', 'one');
  rmSync(bundle, { recursive: true });
  expect(await t.status('one')).toBe('running');
  await t.ok('kill', 'one', 'KILL');
  await t.stopped('one');
  await t.ok('delete', 'one');
  expect(left()).toEqual([]);
});

test('a record that somebody else wrote is refused or means what it says, and never harms what is not the container’s', async () => {
  await t.ok('create', '-b', await t.bundle('sleep 1000'), 'one');
  const path = join(t.state, 'one/state.json');
  const whole = readFileSync(path, 'utf8');
  const record = JSON.parse(whole);
  const bystander = spawn('sleep', ['1000'], { stdio: 'ignore' });
  const victim = join(t.folder, 'victim');
  mkdirSync(join(victim, 'c1'), { recursive: true });
  const hostile: unknown[] = [
    '',
    '{',
    '[]',
    'null',
    '{}',
    whole.slice(0, whole.length / 2),
    `${whole}x`,
    '[['.repeat(100_000),
    { ...record, init: { pid: bystander.pid, startTime: '1' } },
    { ...record, init: { pid: -1, startTime: record.init.startTime } },
    { ...record, init: { pid: 1, startTime: 1 } },
    {
      ...record,
      cgroup: { v1: { pids: { folder: `${victim}/c1`, mountPoint: victim } }, made: [`${victim}/c1`] },
    },
    {
      ...record,
      cgroup: {
        v1: {},
        v2: { folder: '/sys/fs/cgroup/../../../tmp', mountPoint: '/sys/fs/cgroup' },
        made: ['/'],
      },
    },
    {
      ...record,
      cgroup: {
        v1: { pids: { folder: '/sys/fs/cgroup/pids', mountPoint: '/sys/fs/cgroup/pids' } },
        made: [],
      },
    },
    { ...record, bundle: 'relative', rootfs: 5 },
    { ...record, hooks: { poststop: [{ path: 'relative' }] } },
    { ...record, annotations: { toString: 5, __proto__: 'x' } },
    { ...record, phase: 'deleted' },
  ];
  const runtime = new Runtime({
    root: t.state,
    cgroupManager: 'cgroupfs',
    rootless: false,
    log: { debug: () => {}, warn: () => {} },
  });
  const operations: Readonly<Record<string, () => unknown>> = {
    state: () => runtime.state('one'),
    list: () => runtime.list(),
    kill: () => runtime.kill('one', 0, { all: false }),
    pause: () => runtime.pause('one'),
    resume: () => runtime.resume('one'),
    delete: () => runtime.delete('one', { force: true }),
  };
  for (const one of hostile) {
    const text = typeof one === 'string' ? one : JSON.stringify(one);
    for (const [name, operation] of Object.entries(operations)) {
      mkdirSync(join(t.state, 'one'), { recursive: true });
      writeFileSync(path, text);
      const error = await Promise.resolve()
        .then(operation)
        .then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
      if (error !== undefined) expect(error, `${name}: ${text.slice(0, 200)}`).toBeInstanceOf(TvmmError);
    }
  }
  expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
  expect(readdirSync(victim)).toEqual(['c1']);
  bystander.kill();
  writeFileSync(path, whole);
  await t.ok('delete', '--force', 'one');
  expect(left()).toEqual([]);
});

test('any bytes as a record are refused with a sentence that names the file', async () => {
  mkdirSync(join(t.state, 'one'), { recursive: true });
  await fc.assert(
    fc.asyncProperty(fc.json(), async (text) => {
      writeFileSync(join(t.state, 'one/state.json'), text);
      const { status, stderr } = await t.oci(['state', 'one']);
      expect(status).toBe(1);
      expect(stderr).toContain('one/state.json');
    }),
    { numRuns: 5 },
  );
});

test('a lock that a stopped process holds keeps nobody from looking, nor a create from its answer', async () => {
  await t.ok('create', '-b', await t.bundle('sleep 1000'), 'one');
  const lock = join(t.state, 'one/lock');
  const holder = spawn('flock', [lock, 'sh', '-c', 'echo; kill -STOP $$'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  await new Promise((done) => holder.stdout?.once('data', done));
  try {
    const again = await t.oci(['create', '-b', join(t.folder, 'bundle-1'), 'one']);
    expect(again.stderr).toContain('already exists');
    expect(await t.status('one')).toBe('created');
    await t.ok('list');
  } finally {
    process.kill(-(holder.pid ?? 0), 'SIGKILL');
  }
  await t.ok('start', 'one');
});

test('where /proc hides the processes of others, root’s containers run all the same', async (context) => {
  const bundle = await t.bundle('echo well');
  const { status, stdout, stderr } = await t.oci(['run', '-b', bundle, 'one'], {
    under: ['unshare', '-m', 'sh', '-c', 'mount -t proc -o hidepid=2 proc /proc || exit 99; exec "$@"', 'sh'],
  });
  if (status === 99) context.skip('no procfs can be mounted here');
  expect(stderr).toBe('');
  expect({ status, stdout }).toEqual({ status: 0, stdout: 'well\n' });
});
