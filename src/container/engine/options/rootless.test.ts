import { expect, test } from 'vitest';
import { mappedIds } from '../rootless.js';
import { chooseIdRange } from './namespaces.js';
import { NO_OPTIONS } from './options.js';
import { modeOf, placeOf, type RootlessLimits } from './rootless.js';

const PASTA = { kind: 'pasta', path: '/usr/bin/pasta' } as const;
const ALONE: RootlessLimits = { ids: 65_537, networks: [] };
const CONNECTED: RootlessLimits = { ids: 65_537, networks: [PASTA] };
const DELEGATED: RootlessLimits = {
  ...CONNECTED,
  cgroup: { path: '/user.slice/user@1000.service', controllers: ['memory', 'pids'] },
};

test.each([
  [[], CONNECTED, { kind: 'user', tool: 'pasta' }],
  [['default'], CONNECTED, { kind: 'user', tool: 'pasta' }],
  [['pasta'], CONNECTED, { kind: 'user', tool: 'pasta' }],
  [['none'], CONNECTED, { kind: 'none' }],
  [['host'], CONNECTED, { kind: 'host' }],
  [['container:web'], CONNECTED, { kind: 'container', id: 'web' }],
  [[], ALONE, { kind: 'none' }],
] as const)('--network %j without root, %j: %j', (network, rootless, mode) => {
  expect(modeOf({ network }, rootless)).toEqual(mode);
});

test.each([
  [['slirp4netns'], CONNECTED, /slirp4netns is not installed/],
  [['default'], ALONE, /no program that gives a network/],
  [['mine'], CONNECTED, /networks of the host need root/],
  [['default', 'mine'], CONNECTED, /networks of the host need root/],
  [['pasta'], undefined, /is for users without root/],
] as const)('--network %j is refused where it cannot be: %j', (network, rootless, why) => {
  expect(() => modeOf({ network }, rootless)).toThrow(why);
});

const place = (rootless: RootlessLimits | undefined, limits: Partial<typeof NO_OPTIONS> = {}) =>
  placeOf(
    { ...NO_OPTIONS, ...limits },
    { id: 'abc', rootless, device: () => undefined, allDevices: () => [] },
    [],
  );

test('root has a cgroup below the root of all, with the default limits', () => {
  expect(place(undefined)).toMatchObject({ cgroupsPath: '/tvmm-abc', resources: { pids: { limit: 4096 } } });
});

test('a user without a delegated cgroup has no limits, and is refused those that are asked for', () => {
  expect(place(ALONE)).toEqual({});
  expect(() => place(ALONE, { memory: 2 ** 26 })).toThrow(/--memory: this user has no cgroup of its own/);
  expect(() => place(ALONE, { cpus: 1 })).toThrow(/--cpus/);
  expect(() => place(ALONE, { deviceCgroupRule: ['c 1:* rwm'] })).toThrow(/--device-cgroup-rule/);
});

test('a delegated cgroup has what its controllers can limit', () => {
  expect(place(DELEGATED, { memory: 2 ** 26 })).toMatchObject({
    cgroupsPath: '/user.slice/user@1000.service/tvmm-abc',
    resources: { pids: { limit: 4096 }, memory: { limit: 2 ** 26 } },
  });
  expect(() => place(DELEGATED, { cpus: 1 })).toThrow(/no cpu controller/);
});

test.each([
  ['0 1000 1\n1 100000 65536\n', 65_537],
  ['         1     100000      65536\n         0       1000          1\n', 65_537],
  ['0 1000 1', 1],
  ['0 1000 1\n5 100000 10', 1],
  ['', 0],
])('the map %j has %i ids from 0 on', (map, count) => {
  expect(mappedIds(map)).toBe(count);
});

test('containers with ids of their own get ranges beyond the user’s id, and share the last where there are no more', () => {
  expect(chooseIdRange([], 2 * 65_536 + 1)).toBe(1);
  expect(chooseIdRange([1], 2 * 65_536 + 1)).toBe(65_537);
  expect(chooseIdRange([1, 65_537], 2 * 65_536 + 1)).toBe(1);
  expect(() => chooseIdRange([], 65_536)).toThrow(/private needs 65536 ids/);
});
