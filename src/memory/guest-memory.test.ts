import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { GuestMemory } from './guest-memory.js';
import { HIGH_RAM_START, MemorySizeError, MMIO_GAP_START, ramLayout } from './layout.js';
import { GuestMemoryError } from './types.js';

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** Two regions with a hole; the first one is longer than one ArrayBuffer's chunk. Untouched pages cost nothing. */
const memory = GuestMemory.create([
  { gpa: HIGH_RAM_START, size: MIB },
  { gpa: 0, size: GIB + 8192 },
]);
afterAll(() => memory[Symbol.dispose]());

test('regions are kept in ascending order with slots of their own', () => {
  expect(memory.ranges.map(({ gpa, slot }) => [gpa, slot])).toEqual([
    [0, 0],
    [HIGH_RAM_START, 1],
  ]);
});

test('values of every width straddle the border between two chunks', () => {
  memory.writeU16(GIB - 1, 0xbeef);
  expect(memory.readU16(GIB - 1)).toBe(0xbeef);
  expect([memory.readU8(GIB - 1), memory.readU8(GIB)]).toEqual([0xef, 0xbe]);
  for (const offset of [1, 2, 3]) {
    memory.writeU32(GIB - offset, 0xdead_beef);
    expect(memory.readU32(GIB - offset)).toBe(0xdead_beef);
  }
  for (let offset = 1; offset < 8; offset++) {
    memory.writeU64(GIB - offset, 0x12_3456_789a_bcde);
    expect(memory.readU64(GIB - offset)).toBe(0x12_3456_789a_bcde);
  }
});

test('a view straddles chunks and is live', () => {
  const bytes = memory.bytes(GIB - 4, 8);
  bytes.set([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(memory.readU32(GIB)).toBe(0x0807_0605);
  memory.writeU8(GIB, 99);
  expect(bytes[4]).toBe(99);
});

test('nothing reaches across the hole or past an end', () => {
  const end = GIB + 8192;
  for (const [gpa, length] of [
    [end - 1, 2],
    [end, 1],
    [HIGH_RAM_START - 1, 2],
    [HIGH_RAM_START + MIB, 1],
    [HIGH_RAM_START + MIB - 1, 2],
    [-1, 1],
    [2 ** 52, 1],
    [Number.NaN, 1],
    [Number.POSITIVE_INFINITY, 1],
    [0, -1],
    [0, Number.NaN],
  ]) {
    expect(memory.contains(gpa, length), `${gpa}+${length}`).toBe(false);
    expect(() => memory.bytes(gpa, length), `${gpa}+${length}`).toThrow(GuestMemoryError);
    expect(() => memory.hostAddress(gpa, length)).toThrow(GuestMemoryError);
  }
  expect(memory.contains(end, 0)).toBe(true);
});

test('regions that touch are still two: no access spans both', () => {
  using two = GuestMemory.create([
    { gpa: 0, size: 4096 },
    { gpa: 4096, size: 4096 },
  ]);
  two.writeU32(4092, 1);
  two.writeU32(4096, 2);
  expect(() => two.readU32(4094)).toThrow(GuestMemoryError);
  expect(() => two.writeU16(4095, 0)).toThrow(GuestMemoryError);
});

test('every accessor refuses what is not RAM', () => {
  const hole = 2 * GIB;
  const accesses: (() => unknown)[] = [
    () => memory.readU8(hole),
    () => memory.readU16(hole),
    () => memory.readU32(hole),
    () => memory.readU64(hole),
    () => memory.writeU8(hole, 1),
    () => memory.writeU16(hole, 1),
    () => memory.writeU32(hole, 1),
    () => memory.writeU64(hole, 1),
    () => memory.write(hole, new Uint8Array(1)),
  ];
  for (const access of accesses) expect(access).toThrow(GuestMemoryError);
});

test('no address and length, however wild, gives bytes outside of RAM', () => {
  const wild = fc.oneof(
    fc.double(),
    fc.integer({ min: -16, max: 16 }).map((n) => GIB + 8192 + n),
    fc.integer({ min: -16, max: 16 }).map((n) => HIGH_RAM_START + n),
    fc.integer({ min: -16, max: 16 }).map((n) => HIGH_RAM_START + MIB + n),
    fc.maxSafeInteger(),
  );
  fc.assert(
    fc.property(wild, fc.oneof(wild, fc.integer({ min: 0, max: 64 })), (gpa, length) => {
      const inside = memory.ranges.some((r) => gpa >= r.gpa && length >= 0 && gpa + length <= r.gpa + r.size);
      expect(memory.contains(gpa, length)).toBe(inside);
      if (!inside) expect(() => memory.bytes(gpa, length)).toThrow(GuestMemoryError);
    }),
    { numRuns: 2000 },
  );
});

test('another thread attaches to the same bytes, and does not unmap them', () => {
  {
    using attached = GuestMemory.attach(memory.ranges);
    attached.writeU32(0x3000, 0xcafe_f00d);
  }
  expect(memory.readU32(0x3000)).toBe(0xcafe_f00d);
});

test('memfd-backed memory works like anonymous memory', () => {
  using shared = GuestMemory.create([{ gpa: 0, size: MIB }], { backing: 'memfd' });
  shared.writeU64(MIB - 8, 7);
  expect(shared.readU64(MIB - 8)).toBe(7);
  expect(() => shared.readU8(MIB)).toThrow(GuestMemoryError);
});

test.each([
  ['an empty region', [{ gpa: 0, size: 0 }], 'MEMORY_NOT_PAGE_MULTIPLE'],
  ['half a page', [{ gpa: 0, size: 2048 }], 'MEMORY_NOT_PAGE_MULTIPLE'],
  ['an unaligned address', [{ gpa: 1, size: 4096 }], 'MEMORY_NOT_PAGE_MULTIPLE'],
  ['a size that is no number', [{ gpa: 0, size: Number.NaN }], 'MEMORY_NOT_PAGE_MULTIPLE'],
  [
    'regions that overlap',
    [
      { gpa: 0, size: 8192 },
      { gpa: 4096, size: 4096 },
    ],
    'MEMORY_OVERLAP',
  ],
])('%s is refused', (_what, regions, code) => {
  expect(() => GuestMemory.create(regions)).toThrow(expect.objectContaining({ code }));
});

test('RAM is split around the MMIO gap', () => {
  expect(ramLayout(64 * MIB)).toEqual([{ gpa: 0, size: 64 * MIB }]);
  expect(ramLayout(5 * GIB)).toEqual([
    { gpa: 0, size: MMIO_GAP_START },
    { gpa: HIGH_RAM_START, size: 5 * GIB - MMIO_GAP_START },
  ]);
});

test.each([
  [0, 'MEMORY_SIZE'],
  [-4096, 'MEMORY_SIZE'],
  [Number.NaN, 'MEMORY_SIZE'],
  [1.5 * MIB + 0.5, 'MEMORY_SIZE'],
  [64 * MIB + 1, 'MEMORY_NOT_PAGE_MULTIPLE'],
  [4096, 'MEMORY_TOO_SMALL'],
  [513 * GIB, 'MEMORY_TOO_LARGE'],
])('%i bytes of RAM are refused (%s)', (size, code) => {
  let error: unknown;
  try {
    ramLayout(size);
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(MemorySizeError);
  expect(error).toMatchObject({ code });
});
