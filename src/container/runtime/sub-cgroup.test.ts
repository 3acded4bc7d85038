import { expect, test } from 'vitest';
import { Cgroup } from '../cgroup/cgroup.js';
import { subCgroup } from './sub-cgroup.js';

const base = new Cgroup({ v1: { cpu: { folder: '/proc', mountPoint: '/' } }, made: [] });

test('a path below the container’s cgroup is taken for its controller', () => {
  expect(subCgroup(base, ['cpu:/self']).v1.cpu?.folder).toBe('/proc/self');
});

test('no number of dots leads out of the container’s cgroup', () => {
  expect(subCgroup(base, ['cpu:../../self']).v1.cpu?.folder).toBe('/proc/self');
});

test.each([
  [['cpu:/no-such-group'], /does not exist/],
  [['memory:/self'], /has no such cgroup/],
  [[':/self'], /empty <controller>/],
  [['/self', 'cpu:/self'], /missing <controller>/],
  [['cpu:/self', 'cpu:/'], /multiple times/],
])('%j is refused', (wanted, message) => {
  expect(() => subCgroup(base, wanted)).toThrow(message);
});
