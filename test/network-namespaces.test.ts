/** Network namespaces and rtnetlink against the real kernel. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FileLock } from '../src/sys/file-lock.js';
import { NetlinkSocket } from '../src/sys/netlink.js';
import {
  changeLink,
  findLink,
  IFF_UP,
  listAddresses,
  listLinks,
  listRoutes,
} from '../src/sys/netlink-route.js';
import {
  createNetns,
  enterNetns,
  isNetns,
  isOwnNetns,
  netnsIdentity,
  pinNetns,
  releaseNetns,
} from '../src/sys/netns.js';
import { needs } from './support/needs.js';

let folder = '';
let made: string[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-netns-'));
  made = [];
});
afterEach(() => {
  for (const file of made) releaseNetns(file);
  rmSync(folder, { recursive: true });
});

function newNetns(name: string): string {
  const file = join(folder, name);
  made.push(file);
  createNetns(file);
  return file;
}

test('a new namespace holds lo alone, and this process stays where it was', (context) => {
  needs(context, 'root');
  const before = netnsIdentity('/proc/self/ns/net');
  const file = newNetns('a');
  using netlink = NetlinkSocket.open(file);
  expect(listLinks(netlink).map(({ name }) => name)).toContain('lo');
  expect(listRoutes(netlink)).toEqual([]);
  expect(netnsIdentity('/proc/self/ns/net')).toBe(before);
  expect(isOwnNetns(file)).toBe(false);
});

test('lo of another namespace is brought up from outside it', (context) => {
  needs(context, 'root');
  const file = newNetns('a');
  using netlink = NetlinkSocket.open(file);
  const lo = findLink(netlink, 'lo');
  if (lo === undefined) throw new Error('a namespace without lo');
  expect(lo.flags & IFF_UP).toBe(0);
  changeLink(netlink, lo, { up: true });
  expect((findLink(netlink, 'lo')?.flags ?? 0) & IFF_UP).toBe(IFF_UP);
  expect(listAddresses(netlink).map(({ prefix }) => prefix)).toContain(8);
});

test('an action that throws inside a namespace leaves this process in its own', (context) => {
  needs(context, 'root');
  const file = newNetns('a');
  const before = netnsIdentity('/proc/self/ns/net');
  expect(() =>
    enterNetns(file, () => {
      throw new Error('inside');
    }),
  ).toThrow('inside');
  expect(netnsIdentity('/proc/self/ns/net')).toBe(before);
});

test('a pinned namespace is the same one, and outlives the first file', (context) => {
  needs(context, 'root');
  const first = newNetns('a');
  const identity = netnsIdentity(first);
  const pin = join(folder, 'pin');
  made.push(pin);
  pinNetns(first, pin);
  releaseNetns(first);
  expect(isNetns(first)).toBe(false);
  expect(netnsIdentity(pin)).toBe(identity);
});

test('what is no namespace is refused by name, and letting go twice is harmless', (context) => {
  needs(context, 'root');
  expect(() => pinNetns('/dev/null', join(folder, 'x'))).toThrow('/dev/null is no network namespace');
  const file = newNetns('a');
  expect(() => createNetns(file)).toThrow(`${file} already keeps a network namespace`);
  releaseNetns(file);
  releaseNetns(file);
});

test('a refused request names the link and the error', (context) => {
  needs(context, 'root');
  using netlink = NetlinkSocket.open(newNetns('a'));
  const lo = findLink(netlink, 'lo');
  if (lo === undefined) throw new Error('a namespace without lo');
  expect(() => changeLink(netlink, { ...lo, index: 999 }, { up: true })).toThrow('RTM_SETLINK lo: ENODEV');
  expect(findLink(netlink, 'nothere')).toBeUndefined();
});

test('an exclusive lock keeps others out until it is let go', async () => {
  const path = join(folder, 'lock');
  const held = await FileLock.acquire(path, 'exclusive', 100);
  await expect(FileLock.acquire(path, 'shared', 5)).rejects.toThrow(`${path} stayed locked`);
  held[Symbol.dispose]();
  using one = await FileLock.acquire(path, 'shared', 100);
  using two = await FileLock.acquire(path, 'shared', 100);
  expect(one).not.toBe(two);
});
