import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hostResolver, parseResolvConf, resolvConf } from './dns.js';

const HOST = parseResolvConf(
  '# made by dhcp\nnameserver 10.0.0.53\nsearch example.org corp\noptions ndots:2\n',
);
const STUB = 'nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n';
const NONE = { nameservers: [], domain: undefined, search: [], options: [] };

test('the host’s resolver is passed on', () => {
  expect(resolvConf(HOST, [], {}, true)).toEqual({
    content: 'search example.org corp\nnameserver 10.0.0.53\noptions ndots:2\n',
    warnings: [],
  });
});

test('of search and domain the last counts, comments and unknown words do not', () => {
  expect(parseResolvConf('domain a\nsearch b c # d\nsortlist x\nnameserver 1.1.1.1;y\n')).toEqual({
    nameservers: ['1.1.1.1'],
    search: ['b', 'c'],
    options: [],
  });
});

test('behind systemd-resolved’s stub its upstream servers are used', () => {
  const files = new Map([
    ['/etc/resolv.conf', STUB],
    ['/run/systemd/resolve/resolv.conf', 'nameserver 9.9.9.9\n'],
  ]);
  expect(hostResolver((path) => files.get(path)).nameservers).toEqual(['9.9.9.9']);
  files.delete('/run/systemd/resolve/resolv.conf');
  expect(hostResolver((path) => files.get(path)).nameservers).toEqual(['127.0.0.53']);
});

test('a server on the host’s loopback is left out with a warning, unless the network is the host’s', () => {
  const host = parseResolvConf(STUB);
  const own = resolvConf(host, [], {}, true);
  expect(own.content).not.toContain('nameserver');
  expect(own.warnings).toEqual([
    "none of the host's DNS servers (127.0.0.53) can be reached from the container; give one with --dns",
  ]);
  expect(resolvConf(host, [], {}, false).content).toContain('nameserver 127.0.0.53\n');
  const zone = parseResolvConf('nameserver fe80::1%eth0\nnameserver 10.0.0.53\n');
  expect(resolvConf(zone, [], {}, true).content).toBe('nameserver 10.0.0.53\n');
});

test('the user’s word goes before the network’s, and the network’s before the host’s', () => {
  const network = { ...NONE, nameservers: ['10.1.0.1'], domain: 'net' };
  expect(resolvConf(HOST, [network], {}, true).content).toBe(
    'search net\nnameserver 10.1.0.1\noptions ndots:2\n',
  );
  const given = { servers: ['1.1.1.1', '::1'], search: ['.'], options: ['rotate'] };
  expect(resolvConf(HOST, [network], given, true).content).toBe(
    'nameserver 1.1.1.1\nnameserver ::1\noptions rotate\n',
  );
});

test.each([
  [{ servers: ['dns.example'] }, '--dns "dns.example" is no IP address'],
  [{ servers: ['1.1.1.1\nnameserver 6.6.6.6'] }, 'is no IP address'],
  [{ search: ['a b'] }, '--dns-search "a b" must be one word'],
  [{ options: ['x\ny'] }, '--dns-option "x\\ny" must be one word'],
])('%j is refused', (given, message) => {
  expect(() => resolvConf(HOST, [], given, true)).toThrow(message);
});

test('whatever the host’s file says, what comes out says the same when it is read again', () => {
  const line = fc.tuple(
    fc.constantFrom('nameserver', 'search', 'options', 'x'),
    fc.string({ maxLength: 20 }),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 10 }), (lines) => {
      const host = parseResolvConf(lines.map((words) => words.join(' ')).join('\n'));
      const { content } = resolvConf(host, [], {}, false);
      const again = parseResolvConf(content);
      expect(again.nameservers).toEqual([...new Set(host.nameservers)]);
    }),
  );
});
