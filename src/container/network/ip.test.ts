import fc from 'fast-check';
import { expect, test } from 'vitest';
import { addressAt, contains, formatCidr, formatIp, overlaps, parseCidr, parseIp, subnetOf } from './ip.js';

function cidr(text: string) {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new Error(`${text} is no CIDR`);
  return parsed;
}

test.each([
  ['10.0.0.1', '10.0.0.1'],
  ['::', '::'],
  ['::1', '::1'],
  ['FE80:0:0:0:0:0:0:1', 'fe80::1'],
  ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ['::ffff:10.0.0.1', '::ffff:a00:1'],
  ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
])('%s is read and written as %s', (text, canonical) => {
  const ip = parseIp(text);
  expect(ip === undefined ? undefined : formatIp(ip)).toBe(canonical);
});

test.each([
  ...[
    '',
    '1',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '256.1.1.1',
    '1.2.3.-4',
    ' 1.2.3.4',
    '0x7f.0.0.1',
    '1.2.3.4%eth0',
  ],
  ...[
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    'fe80::1%eth0',
  ],
  ...['::1.2.3', 'g::'],
])('%j is no address', (text) => {
  expect(parseIp(text)).toBeUndefined();
});

test.each(['10.0.0.0', '10.0.0.0/', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/08', '::/129', '10.0.0.0/8/8'])(
  '%j is no subnet',
  (text) => {
    expect(parseCidr(text)).toBeUndefined();
  },
);

test('every address survives being written and read', () => {
  fc.assert(
    fc.property(fc.constantFrom(4 as const, 6 as const), fc.bigInt(0n, (1n << 128n) - 1n), (family, bits) => {
      const ip = { family, value: family === 4 ? bits >> 96n : bits };
      expect(parseIp(formatIp(ip))).toEqual(ip);
    }),
  );
});

test('arbitrary text gives an address or nothing', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[0-9a-f:./]{0,45}$/), (text) => void [parseIp(text), parseCidr(text)]),
  );
});

test('subnets meet when one holds the other', () => {
  expect(overlaps(cidr('10.0.0.0/8'), cidr('10.1.2.0/24'))).toBe(true);
  expect(overlaps(cidr('10.1.2.0/24'), cidr('10.0.0.0/8'))).toBe(true);
  expect(overlaps(cidr('10.1.2.0/24'), cidr('10.1.3.0/24'))).toBe(false);
  expect(overlaps(cidr('10.0.0.0/8'), cidr('::a00:0/104'))).toBe(false);
  expect(contains(cidr('10.1.2.0/23'), cidr('10.1.3.255/32'))).toBe(true);
});

test('a subnet has its host part cleared and its addresses counted', () => {
  expect(formatCidr(subnetOf(cidr('10.1.2.3/22')))).toBe('10.1.0.0/22');
  expect(formatIp(addressAt(cidr('10.1.2.3/22'), 1n))).toBe('10.1.0.1');
});
