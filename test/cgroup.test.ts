/**
 * Cgroups of this machine, whatever version it has, with real processes; and the same life of a container on cgroup v2 in the lab. Hostile
 * and broken surroundings: cgroups removed under us, read-only, full, in use, without root, half made by a process that was killed.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Cgroup } from '../src/container/cgroup/cgroup.js';
import { type CreateOptions, createCgroup } from '../src/container/cgroup/create.js';
import { containerDeviceRules } from '../src/container/cgroup/device-rules.js';
import {
  CgroupAttachError,
  CgroupCreateError,
  CgroupDevicesError,
  CgroupLimitError,
  CgroupRemoveError,
  CgroupStatsError,
} from '../src/container/cgroup/errors.js';
import { type CgroupLayout, readLayout, unifiedFolderOf } from '../src/container/cgroup/layout.js';
import { planCgroup } from '../src/container/cgroup/state.js';
import { deviceProgramIds } from '../src/sys/bpf.js';
import { FileDescriptor } from '../src/sys/fd.js';
import { type Bundle, bundleScenario } from './support/cgroup-bundle.js';
import { enter, life, type Observations, pressure, runIn } from './support/cgroup-scenario.js';
import { noLab, type SharedLab, sharedLab } from './support/lab.js';
import { needs } from './support/needs.js';

const ID = `t${process.pid}`;
const PATH = `/tvmm-test-${ID}`;

/** Folders of these tests that are still there, in whatever hierarchy. */
function left(prefix = `tvmm-test-${ID}`): string[] {
  const { v1, v2 } = readLayout();
  const mounts = [...[...v1.values()].map(({ mountPoint }) => mountPoint), ...(v2 ? [v2.mountPoint] : [])];
  return [...new Set(mounts)].flatMap((mount) =>
    readdirSync(mount)
      .filter((name) => name.startsWith(prefix))
      .map((name) => `${mount}/${name}`),
  );
}

function expectLife(seen: Observations): void {
  expect(seen.limits).toMatchObject({ memory: `${48 * 2 ** 20}`, pids: '12', cpus: '0' });
  expect(seen.limits.weight).toBe(seen.version === 'v2' ? '59' : '512');
  expect(seen.devices.null).toEqual({ status: 0, output: 'read\n' });
  expect(seen.devices.kmsg.status).not.toBe(0);
  expect(seen.devices.kmsg.output).toContain('Operation not permitted');
  expect(seen.afterUpdate.read).toEqual({ status: 0, output: 'opened\n' });
  expect(seen.afterUpdate.write.output).toContain('Operation not permitted');
  // EAGAIN, as shells tell it.
  expect(seen.forks.output).toMatch(/fork/i);
  expect(seen.frozen.state).toBe('frozen');
  expect(seen.frozen.after).toBe(seen.frozen.before);
  expect(seen.thawed).toEqual({ state: 'thawed', moves: true });
  expect(seen.pids).toBe(1);
  expect(seen.stats.pids.limit).toBe(100);
  expect(seen.stats.pids.current).toBeGreaterThan(0);
  expect(seen.stats.memory.usage.limit).toBe(48 * 2 ** 20);
  expect(seen.stats.memory.usage.usage).toBeGreaterThan(0);
  expect(seen.stats.cpu.throttling.periods).toBeGreaterThan(0);
  expect(seen.stats.cpuset.cpus).toEqual([0]);
  expect(seen.killed).toEqual({ pids: [], busy: true });
  expect(seen.oom.status).toBe(137);
  expect(seen.oom.seen).toBe(true);
  expect(seen.oom.kills).toBeGreaterThan(0);
  expect(seen.left).toEqual([]);
}

describe('a cgroup on this machine', () => {
  beforeEach((context) => needs(context, 'root'));

  const made: Cgroup[] = [];
  const create = (options: Partial<CreateOptions> = {}): Cgroup => {
    const cgroup = createCgroup(readLayout(), { id: ID, cgroupsPath: PATH, ...options });
    made.push(cgroup);
    return cgroup;
  };
  afterEach(async () => {
    for (const cgroup of made.splice(0)) {
      await cgroup.kill();
      await cgroup.remove();
    }
  });

  it('holds a container to its limits from create to remove', async () => {
    expectLife(await life(ID));
    expect(left()).toEqual([]);
  });

  it('tells when processes wait too long for a CPU', async (context) => {
    needs(context, 'cgroupV2', 'pressure');
    expect(await pressure(`${ID}-psi`)).toBe(true);
  });

  it('guards devices by a program where it has no devices controller, and replaces it in one step', async (context) => {
    needs(context, 'cgroupV2');
    const { v2 } = readLayout();
    const rule = (allow: boolean, access: string) => ({ allow, type: 'c', major: 1, minor: 11, access });
    // As if the v1 controllers were not mounted.
    const layout: CgroupLayout = { version: 'v2', v1: new Map(), v2 };
    const cgroup = createCgroup(layout, {
      id: ID,
      cgroupsPath: PATH,
      resources: { devices: containerDeviceRules([{ allow: false }]) },
    });
    made.push(cgroup);
    const reads = async () => (await runIn(cgroup, 'exec 3</dev/kmsg && echo read')).output;
    expect(await reads()).toContain('Operation not permitted');
    await cgroup.update({ devices: containerDeviceRules([{ allow: false }, rule(true, 'r')]) });
    expect(await reads()).toBe('read\n');
    expect((await runIn(cgroup, 'exec 3<>/dev/kmsg')).output).toContain('Operation not permitted');
    await cgroup.update({ devices: containerDeviceRules([{ allow: true }, rule(false, 'rw')]) });
    expect(await reads()).toContain('Operation not permitted');
    using folder = FileDescriptor.open(cgroup.unified ?? '', constants.O_RDONLY);
    expect(deviceProgramIds(folder.fd)).toHaveLength(1);
    const many = Array.from({ length: 2000 }, (_, minor) => ({
      allow: minor % 2 === 0,
      type: 'c',
      major: 99,
      minor,
    }));
    await cgroup.update({ devices: containerDeviceRules(many) });
    expect(deviceProgramIds(folder.fd)).toHaveLength(1);
    await cgroup.kill();
    await cgroup.remove();
  });

  it('finds a controller in cgroup v2 that no v1 hierarchy has', async (context) => {
    needs(context, 'cgroupV2Hugetlb');
    const handed = `${readLayout().v2?.mountPoint}/cgroup.subtree_control`;
    const before = readFileSync(handed, 'utf8');
    const cgroup = create({ resources: { hugepageLimits: [{ pageSize: '2MB', limit: 4 * 2 ** 20 }] } });
    expect(readFileSync(`${cgroup.unified}/hugetlb.2MB.max`, 'utf8')).toBe('4194304\n');
    expect(cgroup.stats().hugetlb['2MB']).toEqual({ usage: 0, max: 0, failcnt: 0 });
    await cgroup.remove();
    // As it was: handing down is for all of the machine's cgroups.
    if (!before.includes('hugetlb')) writeFileSync(handed, '-hugetlb');
  });

  it('takes a process that has one thread by its tasks files', async (context) => {
    needs(context, 'cgroupV1');
    const cgroup = create();
    const script = cgroup.tasks.map((file) => `echo 0 > ${file}`).join(' && ');
    const child = spawn('sh', ['-c', `${script} && echo in && sleep 60`]);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(cgroup.pids()).toContain(child.pid);
    await cgroup.kill();
    await cgroup.remove();
  });

  it('kills what forks as fast as it can, with the freezer alone', async (context) => {
    needs(context, 'cgroupV1');
    const cgroup = create({ resources: { pids: { limit: 60 } } });
    const { v1, made: folders } = cgroup.state;
    await enter(cgroup, 'f() { f | f & }; while :; do f; done 2>/dev/null');
    // Without its cgroup v2 part there is no cgroup.kill.
    await new Cgroup({ v1, made: folders }).kill();
    expect(cgroup.pids()).toEqual([]);
    await cgroup.remove();
  });

  it('is not shared with a second container by accident', async () => {
    const first = create();
    const { pid = -1 } = await enter(first, 'sleep 60');
    expect(unifiedFolderOf(readLayout(), pid)).toBe(first.unified);
    expect(() => create()).toThrow(CgroupCreateError);
    expect(() => create()).toThrow('already holds process');
    const joined = createCgroup(readLayout(), { id: ID, cgroupsPath: PATH, exclusive: false });
    expect(joined.pids()).toEqual(first.pids());
    // What joined did not make it does not take away.
    expect(joined.state.made).toEqual([]);
    await first.kill();
    await first.freeze();
    expect(() => create()).toThrow('unexpectedly frozen');
    first.thaw();
    await first.remove();
    expect(left()).toEqual([]);
  });

  it('with processes in it is not removed, and the error names them', async () => {
    const cgroup = create();
    const child = await enter(cgroup, 'sleep 60');
    await expect(cgroup.remove()).rejects.toThrow(CgroupRemoveError);
    await expect(cgroup.remove()).rejects.toThrow(new RegExp(`still holds process.* ${child.pid}`));
    await cgroup.kill();
    await cgroup.remove();
    expect(left()).toEqual([]);
  });

  it('that someone removed meanwhile gives errors that say so, and can be removed', async () => {
    const cgroup = create({ resources: { pids: { limit: 5 } } });
    for (const folder of new Set(Object.values(cgroup.paths))) rmdirSync(folder);
    expect(cgroup.exists).toBe(false);
    expect(cgroup.pids()).toEqual([]);
    expect(cgroup.freezerState()).toBe('undefined');
    expect(() => cgroup.attach(process.pid)).toThrow(CgroupAttachError);
    expect(() => cgroup.stats()).toThrow(CgroupStatsError);
    await expect(cgroup.freeze()).rejects.toThrow('ENOENT');
    await expect(cgroup.update({ pids: { limit: 6 } })).rejects.toThrow(CgroupLimitError);
    await expect(cgroup.watchOom(() => {})).rejects.toThrow(CgroupStatsError);
    cgroup.thaw();
    await cgroup.kill();
    await cgroup.remove();
  });

  it.each<[string, Partial<CreateOptions>, new (...args: never[]) => Error, RegExp]>([
    [
      'a CPU that does not exist',
      { resources: { cpu: { cpus: '4095' } } },
      CgroupLimitError,
      /cpu\.cpus to 4095: writing \S+\/cpuset\.cpus/,
    ],
    ['a limit that is no number', { resources: { cpu: { cpus: 'x' } } }, CgroupLimitError, /EINVAL/],
    [
      'an interface that does not exist',
      { resources: { network: { priorities: [{ name: 'none0', priority: 1 }] } } },
      CgroupLimitError,
      /net_prio/,
    ],
    [
      'a unified key without controller',
      { resources: { unified: { 'nonsense.max': '1' } } },
      CgroupLimitError,
      /nonsense/,
    ],
    [
      'a device list that is none',
      { resources: { devices: [{ allow: true, type: 'z' }] } },
      CgroupDevicesError,
      /devices\[0\]/,
    ],
  ])('that asks for %s is refused and leaves nothing', (_, options, error, message) => {
    const deep = { ...options, cgroupsPath: `${PATH}/a/b` };
    expect(() => create(deep)).toThrow(error);
    expect(() => create(deep)).toThrow(message);
    expect(left()).toEqual([]);
  });

  it('that was half made when its maker was killed is removed by its plan, whatever step that was', async () => {
    const plan = planCgroup({ id: ID, cgroupsPath: `${PATH}/a/b` });
    for (let step = 0; step <= plan.made.length; step++) {
      for (const folder of plan.made.slice(0, step)) mkdirSync(folder);
      await Cgroup.open(JSON.parse(JSON.stringify(plan))).remove();
      expect(left()).toEqual([]);
    }
  });

  it('leaves a parent to whoever else uses it', async () => {
    const first = create({ cgroupsPath: `${PATH}/first` });
    const second = create({ cgroupsPath: `${PATH}/second` });
    await first.remove();
    expect(second.exists).toBe(true);
    await second.remove();
    for (const folder of left()) rmdirSync(folder);
  });

  it('whose cpuset is empty says what ENOSPC means', async (context) => {
    needs(context, 'cgroupV1');
    const cgroup = create();
    const { cpuset = '' } = cgroup.paths;
    writeFileSync(`${cpuset}/cpuset.cpus`, '\n');
    let seen: unknown;
    try {
      await runIn(cgroup, ':');
    } catch (error) {
      seen = error;
    }
    expect(seen).toBeInstanceOf(CgroupAttachError);
    expect(seen).toMatchObject({ message: expect.stringContaining('ENOSPC') });
    expect(seen).toMatchObject({ hint: expect.stringContaining('no CPU or no memory node') });
    await cgroup.kill();
    await cgroup.remove();
  });

  describe('from another process', () => {
    let bundle: Bundle;
    beforeAll(async () => {
      bundle = await bundleScenario();
      chmodSync(dirname(bundle.path), 0o755);
      return () => bundle[Symbol.dispose]();
    });

    const run = (prefix: readonly string[], mode: string, argument: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const [program = process.execPath, ...rest] = [
          ...prefix,
          process.execPath,
          bundle.path,
          mode,
          argument,
        ];
        const child = spawn(program, rest, { env: { ...process.env, ...bundle.env } });
        let output = '';
        for (const stream of [child.stdout, child.stderr])
          stream.on('data', (data) => {
            output += data;
          });
        child.on('close', (status) => (status === 0 ? resolve(output) : reject(new Error(output))));
      });

    it('survives others that make and remove the same parents', async () => {
      await Promise.all([run([], 'race', 'a'), run([], 'race', 'b')]);
      // Who made a parent cannot know that the other has come and gone since: it may stay, but nothing below it.
      for (const folder of left('tvmm-test-race')) {
        if (existsSync(`${folder}/pod`)) rmdirSync(`${folder}/pod`);
        rmdirSync(folder);
      }
    });

    it('on read-only mounts is refused with the reason', async () => {
      const script =
        'for m in $(grep -E " - cgroup2? " /proc/self/mountinfo | cut -d" " -f5); do mount -o remount,bind,ro $m || exit 1; done; exec "$@"';
      const readOnly = ['unshare', '-m', '--propagation', 'private', 'sh', '-c', script, 'sh'];
      const options = { id: ID, cgroupsPath: PATH, resources: { pids: { limit: 5 } } };
      const answer = JSON.parse(await run(readOnly, 'create', JSON.stringify(options)));
      expect(answer).toMatchObject({ name: 'CgroupCreateError', message: expect.stringContaining('EROFS') });
      expect(answer.hint).toContain('read-only');
    });

    it('without root goes without limits, and refuses those that are asked for', async (context) => {
      needs(context, 'openCheckout');
      const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
      const ask = async (options: CreateOptions) =>
        JSON.parse(await run(nobody, 'create', JSON.stringify({ ...options, rootless: true })));
      expect(await ask({ id: ID })).toEqual({ present: false });
      expect(await ask({ id: ID, resources: { memory: { limit: -1 }, devices: [] } })).toEqual({
        present: false,
      });
      expect(await ask({ id: ID, resources: { pids: { limit: 5 } } })).toMatchObject({
        name: 'CgroupLimitError',
        message: expect.stringContaining('pids.limit'),
      });
      expect(await ask({ id: ID, cgroupsPath: PATH })).toMatchObject({
        name: 'CgroupCreateError',
        message: expect.stringContaining('EACCES'),
      });
    });
  });
});

describe.skipIf(noLab !== undefined)(
  `a cgroup v2 in the lab${noLab === undefined ? '' : ` (skipped: ${noLab})`}`,
  () => {
    let lab: SharedLab;
    let bundle: Bundle;
    beforeAll(async () => {
      lab = await sharedLab();
      bundle = await bundleScenario(lab.exchange);
      return () => bundle[Symbol.dispose]();
    });
    const run = async (mode: string) => {
      const command = [process.execPath, `${lab.exchangeInLab}/${basename(bundle.path)}`, mode, ID];
      const { status, stdout, stderr } = await lab.exec(command, { env: bundle.env, timeoutMs: 200_000 });
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      return JSON.parse(stdout);
    };

    it('holds a container to its limits from create to remove', async () => {
      const seen: Observations = await run('life');
      expect(seen.version).toBe('v2');
      expectLife(seen);
    });

    it('tells when processes wait too long for a CPU', async () => {
      expect(await run('pressure')).toBe(true);
    });

    it('takes files of its own, refuses what it has not, and serves a user to whom it is delegated', async () => {
      const seen = await run('version2');
      expect(seen.files).toEqual({
        'memory.high': '10485760',
        'cgroup.max.depth': '3',
        'hugetlb.2MB.max': '4194304',
      });
      expect(seen.owners).toEqual([65_534, 65_534, 0]);
      expect(seen.refusals.swappiness.message).toBe('cgroup v2 has nothing like memory.swappiness');
      expect(seen.refusals.controller).toMatchObject({ name: 'CgroupLimitError' });
      expect(seen.refusals.below).toMatchObject({
        name: 'CgroupLimitError',
        message: expect.stringMatching(/memory\.limit: no memory controller: .* EBUSY, it holds processes/),
      });
      expect(seen.rootless).toBe('{"present":true}\n');
      expect(JSON.parse(seen.delegation)).toMatchObject({
        folder: `/sys/fs/cgroup/tvmm-test-${ID}`,
        controllers: expect.arrayContaining(['memory', 'pids']),
      });
      expect(seen.left).toBe(false);
    });
  },
);
