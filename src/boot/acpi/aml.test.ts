import { expect, test } from 'vitest';
import { MachineDescriptionError } from '../errors.js';
import {
  type Aml,
  buffer,
  device,
  eisaId,
  int,
  little,
  method,
  name,
  nameString,
  pkg,
  returns,
  scope,
  str,
} from './aml.js';
import {
  interrupt,
  ioPort,
  memory32Fixed,
  qwordMemory,
  resourceTemplate,
  wordBusNumber,
} from './resources.js';

const hex = (aml: Aml) => Buffer.from(aml).toString('hex');

test.each([
  [0, '00'],
  [1, '01'],
  [2, '0a02'],
  [0xff, '0aff'],
  [0x100, '0b0001'],
  [0x10000, '0c00000100'],
  [0xffffffff, '0cffffffff'],
  [0x1_0000_0000, '0e0000000001000000'],
])('the integer %d takes its shortest form', (value, expected) => {
  expect(hex(int(value))).toBe(expected);
});

test('EISA ids are compressed as the specification shows', () => {
  expect(hex(eisaId('PNP0A03'))).toBe('0c41d00a03');
  expect(hex(eisaId('PNP0501'))).toBe('0c41d00501');
});

test('names are filled to four characters and joined by prefixes', () => {
  expect(hex(nameString('_CRS'))).toBe(Buffer.from('_CRS').toString('hex'));
  expect(hex(nameString('\\_SB'))).toBe(`5c${Buffer.from('_SB_').toString('hex')}`);
  expect(hex(nameString('\\_SB.PCI0'))).toBe(`5c2e${Buffer.from('_SB_PCI0').toString('hex')}`);
  expect(hex(nameString('A.B.C'))).toBe(`2f03${Buffer.from('A___B___C___').toString('hex')}`);
});

/** PkgLength with the length that it must count: itself and the content. */
test.each([
  [62, [63]],
  [63, [0x41, 0x04]],
  [0xfff - 2, [0x4f, 0xff]],
  [0x1000 - 2, [0x81, 0x00, 0x01]],
  [0xfffff - 3, [0x8f, 0xff, 0xff]],
  [0x100000 - 3, [0xc1, 0x00, 0x00, 0x01]],
])('a scope with %d bytes of content has the right package length', (content, expected) => {
  // The name takes 4 of the bytes.
  const aml = scope('AAAA', new Array<number>(content - 4).fill(0));
  expect(aml.slice(1, 1 + expected.length)).toEqual(expected);
  expect(aml.length).toBe(1 + expected.length + content);
});

test('terms nest', () => {
  expect(hex(pkg(int(5), str('a')))).toBe('12070' + '20a050d6100');
  expect(hex(buffer([1, 2]))).toBe('11050a020102');
  expect(hex(name('A', int(1)))).toBe('08415f5f5f01');
  expect(hex(device('D', name('A', int(0))))).toBe('5b820b445f5f5f' + '08415f5f5f00');
  expect(hex(method('M', 2, returns(int(1))))).toBe('14084d5f5f5f02a401');
});

test('resource descriptors have their lengths and an end tag', () => {
  expect(hex(ioPort(0x3f8, 8))).toBe('4701f803f8030108');
  expect(hex(memory32Fixed(0xd0000000, 0x1000))).toBe('86090001000000d000100000');
  expect(hex(interrupt(4, { trigger: 'edge', polarity: 'high' }))).toBe('890600030104000000');
  expect(hex(interrupt(16, { trigger: 'level', polarity: 'low', shared: true }))).toBe('8906000d0110000000');
  expect(hex(wordBusNumber(0, 255))).toBe('880d00020c00' + '00000000ff0000000001');
  expect(hex(qwordMemory(2 ** 36, 2 ** 30))).toBe(
    '8a2b00000c01' +
      '0000000000000000' +
      '0000000010000000' +
      'ffffff3f10000000' +
      '0000000000000000' +
      '0000004000000000',
  );
  expect(hex(resourceTemplate(ioPort(0x70, 2)))).toBe('110d0a0a' + '4701700070000102' + '7900');
});

test.each<[string, () => unknown]>([
  ['a number too large for its field', () => little(256, 1)],
  ['a negative number', () => little(-1, 4)],
  ['a fraction', () => int(0.5)],
  ['a name of five characters', () => nameString('ABCDE')],
  ['a name in small letters', () => nameString('abc')],
  ['an EISA id of another form', () => eisaId('PNP05')],
  ['a string with a line break', () => str('a\n')],
  ['a package of 256 elements', () => pkg(...Array.from({ length: 256 }, () => int(0)))],
  ['a method of 8 arguments', () => method('M', 8)],
  ['an I/O range beyond the ports', () => ioPort(0x10000, 1)],
])('%s cannot be encoded', (_, encode) => {
  expect(encode).toThrow(MachineDescriptionError);
  expect(encode).toThrow('cannot encode ACPI');
});
