import { expect, test } from 'vitest';
import { MachineDescriptionError } from './errors.js';
import { buildMemoryMap, encodeE820, encodeHvmMemmap, writableSpans } from './memory-map.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const ram = (gpa: number, size: number) => ({ gpa, size, readOnly: false });

test('RAM ends at the EBDA and begins again at 1 MiB; the ACPI area has its own type', () => {
  expect(buildMemoryMap([ram(0, 256 * MIB)])).toEqual([
    { gpa: 0, size: 0x9fc00, type: 'ram' },
    { gpa: 0x9fc00, size: 0x40400, type: 'reserved' },
    { gpa: 0xe0000, size: 0x20000, type: 'acpi' },
    { gpa: MIB, size: 255 * MIB, type: 'ram' },
  ]);
});

test('high RAM and the reserved ECAM window follow in ascending order', () => {
  const map = buildMemoryMap([ram(4 * GIB, 2 * GIB), ram(0, 3 * GIB)], [{ gpa: 0xe0000000, size: MIB }]);
  expect(map.slice(3)).toEqual([
    { gpa: MIB, size: 3 * GIB - MIB, type: 'ram' },
    { gpa: 0xe0000000, size: MIB, type: 'reserved' },
    { gpa: 4 * GIB, size: 2 * GIB, type: 'ram' },
  ]);
});

test('a micro-guest with less than 640 KiB gets its RAM and nothing else', () => {
  expect(buildMemoryMap([ram(0, 0x10000)])).toEqual([{ gpa: 0, size: 0x10000, type: 'ram' }]);
});

test('adjacent slots are one range of RAM, read-only ones are reserved', () => {
  const slots = [ram(0, MIB), ram(MIB, MIB), { gpa: 2 * MIB, size: MIB, readOnly: true }];
  expect(writableSpans(slots)).toEqual([{ gpa: 0, size: 2 * MIB }]);
  expect(buildMemoryMap(slots).at(-1)).toEqual({ gpa: 2 * MIB, size: MIB, type: 'reserved' });
});

test('a reserved range inside RAM is refused by name', () => {
  const overlapping = () => buildMemoryMap([ram(0, 8 * MIB)], [{ gpa: 4 * MIB, size: 0x1000 }]);
  expect(overlapping).toThrow(MachineDescriptionError);
  expect(overlapping).toThrow('the reserved range 0x400000+0x1000 overlaps ram at 0x100000+0x700000');
});

test('more entries than a kernel reads are refused', () => {
  const reserved = Array.from({ length: 128 }, (_, index) => ({ gpa: 8 * GIB + index * 8192, size: 4096 }));
  expect(() => buildMemoryMap([ram(0, 8 * MIB)], reserved)).toThrow('132 entries');
});

test('e820 entries are 20 packed bytes, PVH entries 24', () => {
  const map = buildMemoryMap([ram(0x1_2345_6000, 0x1000)]);
  const entry = '00604523010000000010000000000000' + '01000000';
  expect(Buffer.from(encodeE820(map)).toString('hex')).toBe(entry);
  expect(Buffer.from(encodeHvmMemmap(map)).toString('hex')).toBe(`${entry}00000000`);
});
