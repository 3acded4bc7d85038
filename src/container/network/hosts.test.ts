import { expect, test } from 'vitest';
import { checkHostname, hostsFile, hostsFileOfHost, parseAddHost } from './hosts.js';

test('a container’s hosts file names localhost, its own address and what was added', () => {
  const added = [parseAddHost('db:10.9.9.9', undefined), parseAddHost('gw:host-gateway', '10.1.0.1')];
  const lines = hostsFile(['10.1.0.2'], ['web.example', 'web'], added).split('\n');
  expect(lines[0]).toBe('127.0.0.1\tlocalhost');
  expect(lines.slice(-4)).toEqual(['10.1.0.2\tweb.example web', '10.9.9.9\tdb', '10.1.0.1\tgw', '']);
});

test('a container without a network still finds its own name', () => {
  expect(hostsFile([], ['web'], [])).toContain('127.0.1.1\tweb\n');
});

test('in the host’s network the host’s file stays as it is', () => {
  expect(hostsFileOfHost('127.0.0.1 localhost', [{ ip: '1.2.3.4', names: ['x'] }])).toBe(
    '127.0.0.1 localhost\n1.2.3.4\tx\n',
  );
  expect(hostsFileOfHost('a\n', [])).toBe('a\n');
});

test.each([
  ['db', 'there is no name and address'],
  ['db:', 'there is no name and address'],
  ['d b:1.2.3.4', '"d b" is no host name'],
  ['db:localhost', '"localhost" is no IP address'],
  ['db:host-gateway', 'the container has no gateway'],
  ['db:1.2.3.4\n6.6.6.6 bank', 'there is no name and address'],
])('--add-host %j is refused', (text, message) => {
  expect(() => parseAddHost(text, undefined)).toThrow(message);
});

test('IPv6 addresses may stand in brackets', () => {
  expect(parseAddHost('db=[fd00::1]', undefined)).toEqual({ ip: 'fd00::1', names: ['db'] });
  expect(parseAddHost('db:fd00::1', undefined)).toEqual({ ip: 'fd00::1', names: ['db'] });
});

test.each(['', '-a', 'a b', 'a\nb', 'a..b', 'x'.repeat(64)])('%j is no host name', (name) => {
  expect(() => checkHostname(name)).toThrow('is no host name');
});
