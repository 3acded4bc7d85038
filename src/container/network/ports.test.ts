import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TvmmError } from '../../sys/errors.js';
import { listenerOwners, parseSocketTable } from './port-owners.js';
import {
  addressesMeet,
  formatPort,
  type PortOwner,
  parsePortSpec,
  parsePortSpecs,
  settlePorts,
} from './ports.js';

const shown = (spec: string) => parsePortSpec(spec).map(formatPort);

test.each([
  ['80', ['0.0.0.0:0->80/tcp']],
  ['8080:80', ['0.0.0.0:8080->80/tcp']],
  ['8080:80/udp', ['0.0.0.0:8080->80/udp']],
  ['127.0.0.1:8080:80', ['127.0.0.1:8080->80/tcp']],
  ['127.0.0.1::80', ['127.0.0.1:0->80/tcp']],
  ['[::1]:8080:80', ['[::1]:8080->80/tcp']],
  ['8000-8002:80-82', ['0.0.0.0:8000->80/tcp', '0.0.0.0:8001->81/tcp', '0.0.0.0:8002->82/tcp']],
  ['80-81', ['0.0.0.0:0->80/tcp', '0.0.0.0:0->81/tcp']],
])('-p %s is read', (spec, ports) => {
  expect(shown(spec)).toEqual(ports);
});

test.each([
  ['', '"" is no port or range'],
  ['http', '"http" is no port or range'],
  ['0', '"0" is no port or range'],
  ['080', '"080" is no port or range'],
  ['65536', 'ports end at 65535'],
  ['1-99999:1-99999', 'ports end at 65535'],
  ['82-80', 'runs backwards'],
  ['8000-8001:80', '2 ports of the host cannot be 1 of the container'],
  [':80', 'there is no port before the colon'],
  ['80/icmp', '"icmp" is no protocol'],
  ['80/tcp/udp', '"tcp/udp" is no protocol'],
  ['::1:8080:80', 'an IPv6 address stands in brackets'],
  ['localhost:8080:80', '"localhost" is no IP address'],
  ['1.2.3:8080:80', '"1.2.3" is no IP address'],
  ['8080:', '"" is no port or range'],
  ['[::1]:1:2:3', 'has too many colons'],
])('-p %j is refused: %s', (spec, message) => {
  expect(() => parsePortSpec(spec)).toThrow(message);
});

test('arbitrary text is read, or refused with one of our errors', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[0-9a-f:./[\]-]{0,30}$/), (spec) => {
      try {
        for (const { hostPort, containerPort } of parsePortSpec(spec)) {
          expect(hostPort).toBeLessThan(65536);
          expect(containerPort).toBeGreaterThan(0);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(TvmmError);
      }
    }),
  );
});

test('a port that is named twice is refused, and one of each protocol and address is not', () => {
  expect(() => parsePortSpecs(['80:80', '127.0.0.1:80:81'])).toThrow('names port 80/tcp of the host twice');
  expect(parsePortSpecs(['80:80', '80:80/udp'])).toHaveLength(2);
  expect(parsePortSpecs(['127.0.0.1:80:80', '127.0.0.2:80:80'])).toHaveLength(2);
  expect(() => parsePortSpecs(['1-5000:1-5000'])).toThrow('more than 4096 published ports');
});

test.each([
  [undefined, '10.0.0.1', true],
  ['0.0.0.0', '10.0.0.1', true],
  ['10.0.0.2', '10.0.0.1', false],
  ['::', '10.0.0.1', true],
  ['::1', '127.0.0.1', false],
])('%s and %s meet: %s', (a, b, meets) => {
  expect(addressesMeet(a, b)).toBe(meets);
  expect(addressesMeet(b, a)).toBe(meets);
});

const web: PortOwner = {
  owner: 'container web',
  ports: [{ hostIp: undefined, hostPort: 8080, protocol: 'tcp' }],
};

test('a port that is taken is refused with the name of its owner', () => {
  expect(() => settlePorts(parsePortSpec('8080:80'), [web])).toThrow(
    'port 8080/tcp is taken by container web',
  );
  expect(() => settlePorts(parsePortSpec('127.0.0.1:8080:80'), [web])).toThrow(
    'port 8080/tcp of 127.0.0.1 is taken by container web',
  );
  expect(settlePorts(parsePortSpec('8080:80/udp'), [web])).toHaveLength(1);
});

test('chosen ports are free and different', () => {
  const taken: PortOwner = { owner: 'x', ports: [{ hostIp: undefined, hostPort: 32768, protocol: 'tcp' }] };
  const ports = settlePorts(parsePortSpecs(['32769:1', '80', '81']), [taken], () => 0);
  expect(ports.map(({ hostPort }) => hostPort)).toEqual([32769, 32770, 32771]);
});

const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18023 1 0000 100 0 0 10 0
   1: 0100007F:1F91 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 18024 1 0000 100 0 0 10 0
   2: nonsense
`;
const TCP6 = `   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 77 1`;

test('the kernel’s table of sockets gives those that listen', () => {
  expect(parseSocketTable(TCP, 'tcp', '0A')).toEqual([
    { ip: '127.0.0.1', port: 8080, protocol: 'tcp', inode: 18023 },
  ]);
  expect(parseSocketTable(TCP6, 'tcp', '0A')).toEqual([{ ip: '::1', port: 80, protocol: 'tcp', inode: 77 }]);
});

test('a program of the host that listens owns its port', () => {
  const owners = listenerOwners([{ ip: '127.0.0.1', port: 22, protocol: 'tcp', inode: -1 }]);
  expect(() => settlePorts(parsePortSpec('22:22'), owners)).toThrow(
    'port 22/tcp is taken by a program of the host',
  );
});
