/** linux.netDevices with links of the kernel: pairs of veth stand for devices of the host. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { moveNetDevices } from '../src/container/network/net-devices.js';
import { createNetns, releaseNetns } from '../src/sys/netns.js';
import { needs } from './support/needs.js';

const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

let folder = '';
let netns = '';
let a = '';
let b = '';
beforeEach((context) => {
  needs(context, 'root');
  folder = mkdtempSync(join(tmpdir(), 'tvmm-dev-'));
  netns = join(folder, 'ns');
  createNetns(netns);
  const tag = Math.floor(Math.random() * 2 ** 24).toString(16);
  a = `tva${tag}`;
  b = `tvb${tag}`;
  run('ip', 'link', 'add', a, 'mtu', '1480', 'type', 'veth', 'peer', 'name', b);
  run('ip', 'addr', 'add', '198.51.100.5/24', 'brd', '+', 'dev', a);
  run('ip', 'addr', 'add', '2001:db8::5/64', 'nodad', 'dev', a);
  run('ip', 'addr', 'add', '203.0.113.6/24', 'scope', 'link', 'dev', a);
  run('ip', 'link', 'set', a, 'up');
});
afterEach(() => {
  if (folder === '') return;
  releaseNetns(netns);
  try {
    run('ip', 'link', 'del', b);
  } catch {
    // It went with its peer.
  }
  rmSync(folder, { recursive: true });
  folder = '';
});

const inside = (...args: string[]) => run('nsenter', `--net=${netns}`, 'ip', '-o', ...args);

test('a device keeps its MTU, hardware address and permanent global addresses, and is up', () => {
  const mac = /link\/ether (\S+)/.exec(run('ip', '-o', 'link', 'show', a))?.[1] ?? 'none';
  expect(moveNetDevices(netns, { [a]: { name: 'eth7' } })).toEqual(new Map([[a, 'eth7']]));
  const link = inside('link', 'show', 'eth7');
  expect(link).toContain('mtu 1480');
  expect(link).toContain(mac);
  expect(link).toMatch(/[<,]UP[,>]/);
  const addresses = inside('addr', 'show', 'eth7');
  expect(addresses).toContain('198.51.100.5/24 brd 198.51.100.255');
  expect(addresses).toContain('2001:db8::5/64');
  expect(addresses).not.toContain('203.0.113.6');
  expect(run('ip', '-o', 'link')).not.toContain(`${a}@`);
});

test('without a name it keeps its own, and a template is completed by the kernel', () => {
  moveNetDevices(netns, { [a]: {} });
  expect(inside('link', 'show', a)).toContain(a);
  expect(moveNetDevices(netns, { [b]: { name: 'net%d' } })).toEqual(new Map([[b, 'net0']]));
});

test('a name that is taken is an error, and what had been moved is back with its addresses', () => {
  expect(() => moveNetDevices(netns, { [a]: {}, [b]: { name: 'lo' } })).toThrow(
    `cannot move the network device ${b} into the container: the container has a device lo already`,
  );
  expect(run('ip', '-o', 'addr', 'show', a)).toContain('198.51.100.5/24');
  expect(run('ip', '-o', 'link', 'show', a)).toMatch(/[<,]UP[,>]/);
});

test.each([
  ['lo', {}, 'the loopback device of a namespace stays in it'],
  ['nothere', {}, 'the host has no such device'],
  ['no/name', {}, 'that is no name of a device'],
  ['lo', { name: 'a%s' }, '"a%s" cannot be its name there'],
  ['lo', { name: 'a%dx' }, '"a%dx" cannot be its name there'],
  ['lo', { name: '0123456789abcdef' }, 'cannot be its name there'],
])('%s as %j is refused: %s', (name, device, message) => {
  expect(() => moveNetDevices(netns, { [name]: device })).toThrow(message);
});
