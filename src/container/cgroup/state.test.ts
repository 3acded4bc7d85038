import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Cgroup } from './cgroup.js';
import { CgroupProcessError, CgroupStateError } from './errors.js';
import { ancestry, hierarchies, planCgroup } from './state.js';

describe('a planned cgroup', () => {
  const place = (name: string) => ({ mountPoint: `/nowhere/${name}`, own: '/own' });
  const plan = planCgroup({
    id: 'web',
    cgroupsPath: '/pods/web',
    layout: {
      version: 'hybrid',
      v1: new Map([
        ['cpu', place('cpu,cpuacct')],
        ['cpuacct', place('cpu,cpuacct')],
        ['memory', place('memory')],
        ['name=openrc', place('openrc')],
        ['name=systemd', place('systemd')],
      ]),
      v2: { ...place('unified'), controllers: [] },
    },
  });

  it('is in every hierarchy with a controller and in systemd’s, once where controllers share one, and in no other', () => {
    expect(hierarchies(plan).map(({ folder }) => folder)).toEqual([
      '/nowhere/cpu,cpuacct/pods/web',
      '/nowhere/memory/pods/web',
      '/nowhere/systemd/pods/web',
      '/nowhere/unified/pods/web',
    ]);
  });

  it('lists what has to be made, parents first', () => {
    expect(plan.made.slice(0, 3)).toEqual([
      '/nowhere/cpu,cpuacct/pods',
      '/nowhere/cpu,cpuacct/pods/web',
      '/nowhere/memory/pods',
    ]);
  });

  it('tells where processes enter', () => {
    const cgroup = new Cgroup(plan);
    expect(cgroup.tasks).toEqual(
      ['cpu,cpuacct', 'memory', 'systemd'].map((name) => `/nowhere/${name}/pods/web/tasks`),
    );
    expect(cgroup.unified).toBe('/nowhere/unified/pods/web');
    expect(cgroup.procs).toHaveLength(4);
    expect(cgroup.paths).toMatchObject({
      cpuacct: '/nowhere/cpu,cpuacct/pods/web',
      '': cgroup.unified,
    });
  });

  it('that was never made has no processes and is removed already', async () => {
    const cgroup = new Cgroup(plan);
    expect(cgroup.exists).toBe(false);
    expect(cgroup.pids()).toEqual([]);
    expect(cgroup.freezerState()).toBe('undefined');
    await cgroup.kill();
    await cgroup.remove();
    expect(() => cgroup.stats()).toThrow('there is no cgroup /nowhere/cpu,cpuacct/pods/web any more');
  });

  it('of a container that has none cannot be paused', async () => {
    const cgroup = new Cgroup({ v1: {}, made: [] });
    expect(cgroup.present).toBe(false);
    await cgroup.kill();
    await expect(cgroup.freeze()).rejects.toThrow(CgroupProcessError);
  });
});

describe('a saved cgroup', () => {
  const folder = { folder: '/sys/fs/cgroup/x', mountPoint: '/sys/fs/cgroup' };

  it.each([
    ['nothing', undefined],
    ['text', 'x'],
    ['a list', []],
    ['no hierarchies', { made: [] }],
    ['a relative folder', { v1: { cpu: { folder: 'x', mountPoint: '/' } }, made: [] }],
    ['a folder that leads out', { v1: {}, v2: { folder: '/a/../b', mountPoint: '/a' }, made: [] }],
    ['a folder outside of its mount', { v1: {}, v2: { folder: '/tmp', mountPoint: '/sys' }, made: [] }],
    ['the mount itself', { v1: {}, v2: { ...folder, folder: '/sys/fs/cgroup' }, made: [] }],
    ['foreign folders to remove', { v1: {}, made: ['/etc'] }],
    ['no list of folders', { v1: {} }],
    ['numbers for folders', { v1: { cpu: { folder: 1, mountPoint: 2 } }, made: [] }],
  ])('that is %s is refused', (_, saved) => {
    expect(() => Cgroup.open(saved)).toThrow(CgroupStateError);
  });
});

it('a saved cgroup that is no cgroup any more is not removed, and neither are its parents', async () => {
  const mountPoint = mkdtempSync(join(tmpdir(), 'tvmm-cgroup-'));
  const folder = `${mountPoint}/a/b`;
  mkdirSync(folder, { recursive: true });
  try {
    const made = [`${mountPoint}/a`, folder];
    const cgroup = Cgroup.open({ v1: { pids: { folder, mountPoint } }, made });
    await expect(cgroup.remove()).rejects.toThrow(`${folder} is not on a cgroup file system`);
    expect(existsSync(folder)).toBe(true);
    rmdirSync(folder);
    await cgroup.remove();
    expect(existsSync(`${mountPoint}/a`)).toBe(true);
  } finally {
    rmSync(mountPoint, { recursive: true });
  }
});

it('the ancestry of a folder begins below the mount point', () => {
  expect(ancestry({ folder: '/m/a/b/c', mountPoint: '/m' })).toEqual(['/m/a', '/m/a/b', '/m/a/b/c']);
});
