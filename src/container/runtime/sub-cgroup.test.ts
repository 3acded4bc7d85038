import { expect, test } from 'vitest';
import { Cgroup } from '../cgroup/cgroup.js';
import { subCgroup } from './sub-cgroup.js';

const base = new Cgroup({ v1: { cpu: { folder: '/proc', mountPoint: '/' } }, made: [] });

test('a path below the container’s cgroup is taken for its controller', () => {
  expect(subCgroup(base, ['cpu:/self']).v1.cpu?.folder).toBe('/proc/self');
});

test('a path without a controller is taken for all of them', () => {
  const both = new Cgroup({
    v1: { cpu: { folder: '/proc', mountPoint: '/' }, memory: { folder: '/sys', mountPoint: '/' } },
    v2: { folder: '/sys/kernel', mountPoint: '/sys' },
    made: [],
  });
  const { v1, v2 } = subCgroup(both, ['/fs/']);
  expect([v1.cpu?.folder, v1.memory?.folder, v2?.folder]).toEqual(['/proc/fs', '/sys/fs', '/sys/kernel']);
});

test.each([
  [['cpu:/no-such-group'], /adding pid to .*no such file or directory/],
  [['cpu:../../self'], /bad sub cgroup path/],
  [['cpu:self/../../sys'], /bad sub cgroup path/],
  [['memory:/self'], /unknown controller memory/],
  [[':/self'], /empty <controller>/],
  [['/self', 'cpu:/self'], /missing <controller>/],
  [['cpu:/self', 'cpu:/'], /multiple times/],
])('%j is refused', (wanted, message) => {
  expect(() => subCgroup(base, wanted)).toThrow(message);
});
