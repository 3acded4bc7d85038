import { expect, test } from 'vitest';
import { parseElf } from './elf.js';
import { KernelError } from './errors.js';
import { code, fakeElf, fakeNote, fakePvhKernel, pvhNoteSegment } from './fake-kernels.js';
import { BytesSource } from './source.js';

const parse = (bytes: Uint8Array) => parseElf(new BytesSource(bytes, 'k'));

test('a 64-bit kernel gives its segments and its PVH entry', () => {
  expect(parse(fakePvhKernel())).toEqual({
    kind: 'elf',
    bits: 64,
    entry: 0x100000,
    segments: [{ gpa: 0x100000, size: 0x2300, fileOffset: 0xb0, fileSize: 0x300 }],
    pvhEntry: 0x100040,
  });
});

test('a 32-bit kernel has its own header layout and a 4-byte note', () => {
  const bytes = fakeElf({
    bits: 32,
    entry: 0x200010,
    segments: [
      { paddr: 0x200000, vaddr: 0xc0200000, data: code(64), memsz: 100 },
      pvhNoteSegment(0x200020, 4),
    ],
  });
  expect(parse(bytes)).toMatchObject({
    bits: 32,
    entry: 0x200010,
    segments: [{ gpa: 0x200000, size: 100, fileSize: 64 }],
    pvhEntry: 0x200020,
  });
});

test('a virtual entry address is translated by the segment that holds it', () => {
  const segments = [{ paddr: 0x100_0000, vaddr: 0x7fff_8100_0000, data: code(64) }];
  expect(parse(fakeElf({ entry: 0x7fff_8100_0010, segments })).entry).toBe(0x100_0010);
});

test('a note of the right type but another name is no PVH entry', () => {
  const data = fakeNote('GNU', 18, Uint8Array.of(0, 0, 0x10, 0));
  const bytes = fakeElf({
    entry: 0x100000,
    segments: [
      { paddr: 0x100000, data: code(16) },
      { type: 4, paddr: 0, data, memsz: 0 },
    ],
  });
  expect(parse(bytes).pvhEntry).toBeUndefined();
});

test('a note that says it is longer than its segment ends the search', () => {
  const note = fakeNote('Xen', 18, Uint8Array.of(0, 0, 0x10, 0));
  new DataView(note.buffer).setUint32(4, 0xffffffff, true);
  const bytes = fakeElf({
    entry: 0x100000,
    segments: [
      { paddr: 0x100000, data: code(16) },
      { type: 4, paddr: 0, data: note, memsz: 0 },
    ],
  });
  expect(parse(bytes).pvhEntry).toBeUndefined();
});

const segments = [{ paddr: 0x100000, data: code(16) }];
test.each([
  ['an object file', fakeElf({ type: 1, entry: 0, segments }), 'ELF relocatable object'],
  ['a core dump', fakeElf({ type: 4, entry: 0, segments }), 'ELF core dump'],
  ['an arm64 ELF', fakeElf({ machine: 183, entry: 0, segments }), 'ELF file for AArch64, not for x86'],
  ['an unknown machine', fakeElf({ machine: 999, entry: 0, segments }), 'ELF file for machine 999'],
  [
    'a program',
    fakeElf({ entry: 0, segments: [{ type: 3, paddr: 0, data: code(8) }] }),
    'program for a running Linux',
  ],
])('%s is refused by name', (_, bytes, name) => {
  expect(() => parse(bytes)).toThrow(KernelError);
  expect(() => parse(bytes)).toThrow(name);
});

test.each([
  ['program headers beyond the end', 32, 2 ** 40, 'is truncated'],
  ['the count that stands for "elsewhere"', 56, 0xffff, 'is truncated'],
  ['more headers than the file has room for', 56, 60000, 'is truncated'],
  ['no program header', 56, 0, 'no program headers'],
  ['headers of another size', 54, 32, 'program headers of 32 bytes'],
])('%s is refused', (_, offset, value, message) => {
  const bytes = fakePvhKernel();
  const view = new DataView(bytes.buffer);
  if (offset === 32) view.setBigUint64(offset, BigInt(value), true);
  else view.setUint16(offset, value, true);
  expect(() => parse(bytes)).toThrow(message);
});

test('notes beyond the end of the file are a truncated file', () => {
  const note = { ...pvhNoteSegment(0x100000), filesz: 0x1000 };
  expect(() => parse(fakeElf({ entry: 0x100000, segments: [...segments, note] }))).toThrow(
    'the kernel "k" is truncated: its notes at offset 0xc0 lie beyond its end',
  );
});
