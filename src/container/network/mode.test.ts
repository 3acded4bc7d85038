import { expect, test } from 'vitest';
import { parseNetworkMode } from './mode.js';

test('without --network a container is on the default network', () => {
  expect(parseNetworkMode([])).toEqual({
    kind: 'networks',
    networks: [{ name: 'tvmm', interface: 'eth0', ips: [], mac: undefined, aliases: [] }],
  });
  expect(parseNetworkMode(['bridge'])).toEqual(parseNetworkMode([]));
});

test('several networks get an interface each, with what is asked of them', () => {
  expect(parseNetworkMode(['a:ip=10.0.0.5,mac=02:00:00:00:00:0A,alias=web', 'b:interface=wan0'])).toEqual({
    kind: 'networks',
    networks: [
      { name: 'a', interface: 'eth0', ips: ['10.0.0.5'], mac: '02:00:00:00:00:0a', aliases: ['web'] },
      { name: 'b', interface: 'wan0', ips: [], mac: undefined, aliases: [] },
    ],
  });
});

test.each([
  [['none', 'a'], 'none: cannot be combined'],
  [['a', 'host'], 'host: cannot be combined'],
  [['a', 'a'], 'the name a is there twice'],
  [['a', 'b:interface=eth0'], 'the interface eth0 is there twice'],
  [['container:'], '"" is no container'],
  [['container:../x'], '"../x" is no container'],
  [['ns:relative'], 'is absolute'],
  [['../etc'], '"../etc" is no name of a network'],
  [['a:ip=10.0.0'], '"10.0.0" is no IP address'],
  [['a:mac=01:00:00:00:00:01'], 'is a multicast address'],
  [['a:mac=x'], '"x" is no hardware address'],
  [['a:interface=a/b'], 'is no name of an interface'],
  [['a:interface=0123456789abcdef'], 'is no name of an interface'],
  [['a:vlan=3'], '"vlan" is no option'],
  [Array.from({ length: 17 }, (_, i) => `n${i}`), 'at most 16 networks'],
])('--network %j is refused: %s', (values, message) => {
  expect(() => parseNetworkMode(values)).toThrow(message);
});
