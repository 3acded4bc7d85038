import { expect, test } from 'vitest';
import { isBzImage, parseBzImage } from './bzimage.js';
import { fakeBzImage } from './fake-kernels.js';
import { BytesSource } from './source.js';

const parse = (bytes: Uint8Array) => parseBzImage(new BytesSource(bytes, 'k'));

test('the header says where the payload goes, how much room it needs and where to enter', () => {
  expect(parse(fakeBzImage())).toMatchObject({
    bits: 64,
    version: 0x020f,
    segment: { gpa: 0x1000000, size: 0x4000, fileOffset: 0x400, fileSize: 0x800 },
    entry: 0x1000200,
    initrdLimit: 0x80000000,
    cmdlineMax: 2047,
  });
});

test('zero setup sectors mean four', () => {
  const long = new Uint8Array(5 * 512 + 0x800);
  long.set(fakeBzImage(0x800, { setup_sects: 0 }));
  expect(parse(long).segment.fileOffset).toBe(5 * 512);
});

test('the header that goes on ends where the jump leads', () => {
  expect(parse(fakeBzImage()).setupHeader.length).toBe(0x202 + 0x6a - 0x1f1);
  expect(parse(fakeBzImage(0x800, { jump: 0xffeb })).setupHeader.length).toBe(0x290 - 0x1f1);
});

test('a kernel without a 64-bit entry is entered at its start in 32-bit mode', () => {
  expect(parse(fakeBzImage(0x800, { xloadflags: 0 }))).toMatchObject({ bits: 32, entry: 0x1000000 });
  expect(parse(fakeBzImage(0x800, { version: 0x020b }))).toMatchObject({ bits: 32, entry: 0x1000000 });
});

test('a header before 2.10 knows no preferred address: 1 MiB', () => {
  expect(parse(fakeBzImage(0x800, { version: 0x0206, kernel_alignment: 0 })).segment.gpa).toBe(0x100000);
});

test.each([
  ['an old protocol', { version: 0x0205 }, 'speaks boot protocol 2.05, older than 2.06'],
  ['a zImage', { loadflags: 0 }, 'is a zImage'],
  [
    'a header that ends before its fields',
    { jump: 0x10eb },
    'says boot protocol 2.15, but its header ends at 0x212',
  ],
  ['a header without init_size', { jump: 0x50eb }, 'says boot protocol 2.15, but its header ends at 0x252'],
  ['no payload', { syssize: 0 }, 'its protected-mode part is empty'],
  ['a payload longer than the file', { syssize: 0x81 }, 'asks for 3088 bytes and the file has 3072'],
  ['setup longer than the file', { setup_sects: 255 }, 'is truncated'],
  ['a load address in low memory', { pref_address: 0x8000 }, 'outside 1 MiB to 4 GiB'],
  ['a load address above 4 GiB', { pref_address: 2 ** 33 }, 'outside 1 MiB to 4 GiB'],
  ['a load address off its own alignment', { pref_address: 0x1001000 }, 'not aligned to its own 0x200000'],
])('%s is refused', (_, fields, message) => {
  expect(() => parse(fakeBzImage(0x800, fields))).toThrow(message);
});

test('a file needs both signatures to be a bzImage', () => {
  expect(isBzImage(new BytesSource(fakeBzImage()))).toBe(true);
  expect(isBzImage(new BytesSource(fakeBzImage(0x800, { boot_flag: 0 })))).toBe(false);
  expect(isBzImage(new BytesSource(fakeBzImage(0x800, { header: 0 })))).toBe(false);
  expect(isBzImage(new BytesSource(fakeBzImage().subarray(0, 0x230)))).toBe(false);
});
