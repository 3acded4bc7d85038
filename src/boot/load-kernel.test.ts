import { expect, test } from 'vitest';
import { ArrayRam } from '../memory/fake-ram.js';
import { TvmmError } from '../sys/errors.js';
import { code, fakeBzImage, fakeElf, fakePvhKernel } from './fake-kernels.js';
import { loadKernel } from './load-kernel.js';
import { buildMemoryMap } from './memory-map.js';
import type { LoadOptions } from './plan.js';
import { BytesSource } from './source.js';

const MIB = 2 ** 20;

function options(kernel: Uint8Array, more: Partial<LoadOptions> = {}): LoadOptions {
  return {
    kernel: new BytesSource(kernel, 'k'),
    cmdline: 'console=ttyS0',
    acpiRsdp: 0xe0000,
    memoryMap: buildMemoryMap([{ gpa: 0, size: 32 * MIB, readOnly: false }]),
    ...more,
  };
}

function hexOf(ram: ArrayRam, gpa: number, length: number): string {
  return Buffer.from(ram.bytes(gpa, length)).toString('hex');
}

function failure(run: () => unknown): TvmmError {
  try {
    run();
  } catch (error) {
    if (error instanceof TvmmError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

function initrd(length: number, fill: number): BytesSource {
  return new BytesSource(new Uint8Array(length).fill(fill), 'i', 'initrd');
}

test('a kernel with a PVH note starts at the note in 32-bit mode', () => {
  const ram = new ArrayRam(32 * MIB);
  ram.bytes(0, 32 * MIB).fill(0xaa, MIB, 2 * MIB);
  const plan = loadKernel(ram, options(fakePvhKernel()));
  expect(plan).toMatchObject({
    protocol: 'pvh',
    entry: 0x100040,
    state: {
      mode: 'protected32',
      rip: 0x100040,
      rbx: 0x98000,
      gdt: { base: 0x90000, limit: 47, code: 0x10, data: 0x18, tss: 0x20 },
    },
    cmdline: { gpa: 0x99000, text: 'console=ttyS0' },
    initrd: undefined,
  });
  expect(ram.bytes(0x100000, 0x300)).toEqual(code(0x300));
  expect(ram.bytes(0x100300, 0x2000).every((byte) => byte === 0)).toBe(true);
  expect(ram.readU8(0x102300)).toBe(0xaa);
});

test('fresh RAM is not cleared a second time', () => {
  const ram = new ArrayRam(32 * MIB);
  ram.writeU8(0x101000, 0x55);
  loadKernel(ram, options(fakePvhKernel(), { ramIsZero: true }));
  expect(ram.readU8(0x101000)).toBe(0x55);
});

test('golden: hvm_start_info, module list, memory map and GDT as the PVH entry reads them', () => {
  const ram = new ArrayRam(32 * MIB);
  const plan = loadKernel(ram, options(fakePvhKernel(), { initrd: [initrd(5, 1), initrd(4, 2)] }));
  expect(plan.initrd).toEqual({ gpa: 0x1fff000, size: 12 });
  expect(hexOf(ram, 0x1fff000, 12)).toBe('010101010100000002020202');
  expect(hexOf(ram, 0x98000, 56)).toBe(
    '78c56e33' + // magic
      '01000000' + // version
      '00000000' + // flags
      '01000000' + // nr_modules
      '8080090000000000' + // modlist_paddr
      '0090090000000000' + // cmdline_paddr
      '00000e0000000000' + // rsdp_paddr
      '0081090000000000' + // memmap_paddr
      '04000000' + // memmap_entries
      '00000000',
  );
  expect(hexOf(ram, 0x98080, 32)).toBe(
    '00f0ff01000000000c000000000000000000000000000000' + '0000000000000000',
  );
  expect(hexOf(ram, 0x98100, 96)).toBe(
    '000000000000000000fc0900000000000100000000000000' +
      '00fc09000000000000040400000000000200000000000000' +
      '00000e000000000000000200000000000300000000000000' +
      '00001000000000000000f001000000000100000000000000',
  );
  expect(hexOf(ram, 0x90000, 48)).toBe(
    '00000000000000000000000000000000ffff0000009bcf00ffff00000093cf0067000000008b00000000000000000000',
  );
  expect(Buffer.from(ram.bytes(0x99000, 14)).toString()).toBe('console=ttyS0\0');
});

test('an ELF kernel without the note starts in long mode with boot_params', () => {
  const ram = new ArrayRam(32 * MIB);
  const kernel = fakeElf({ entry: 0x1000010, segments: [{ paddr: 0x1000000, data: code(64) }] });
  expect(loadKernel(ram, options(kernel))).toMatchObject({
    protocol: 'linux64',
    entry: 0x1000010,
    state: { mode: 'long64', rip: 0x1000010, rsi: 0x97000, cr3: 0x91000 },
  });
  // GDT with a 64-bit code segment, and the first and last identity mapping.
  expect(hexOf(ram, 0x90010, 8)).toBe('ffff0000009baf00');
  expect(hexOf(ram, 0x91000, 16)).toBe('03200900000000000000000000000000');
  expect(hexOf(ram, 0x92000, 40)).toBe(
    '0330090000000000034009000000000003500900000000000360090000000000' + '0000000000000000',
  );
  expect(hexOf(ram, 0x93000, 16)).toBe('83000000000000008300200000000000');
  expect(hexOf(ram, 0x96ff8, 8)).toBe('8300e0ff00000000');
});

test('golden: boot_params of a bare vmlinux', () => {
  const ram = new ArrayRam(32 * MIB);
  const kernel = fakeElf({ entry: 0x1000000, segments: [{ paddr: 0x1000000, data: code(64) }] });
  loadKernel(ram, options(kernel, { protocol: 'linux64', initrd: [initrd(100, 3)] }));
  expect(hexOf(ram, 0x97000, 0x1000)).toBe(
    page({
      112: '00000e0000000000', // acpi_rsdp_addr
      488: '04', // e820_entries
      506: 'ffff', // vid_mode
      510: '55aa', // boot_flag
      514: '486472530f02', // HdrS, version 2.15
      528: 'ff01', // type_of_loader, loadflags
      532: '00000001', // code32_start
      536: '00f0ff0164000000', // ramdisk_image, ramdisk_size
      552: '00900900', // cmd_line_ptr
      568: 'ff070000', // cmdline_size
      720: E820,
    }),
  );
});

test('golden: boot_params of a bzImage keep its header, not its sentinel', () => {
  const ram = new ArrayRam(32 * MIB);
  const plan = loadKernel(ram, options(fakeBzImage(0x800, { setup_data: 0x1234 })));
  expect(plan).toMatchObject({
    protocol: 'linux64',
    state: { mode: 'long64', rip: 0x1000200, rsi: 0x97000 },
    segments: [{ gpa: 0x1000000, size: 0x4000, fileOffset: 0x400, fileSize: 0x800 }],
  });
  expect(ram.bytes(0x1000000, 0x800)).toEqual(code(0x800));
  expect(hexOf(ram, 0x97000, 0x1000)).toBe(
    page({
      112: '00000e0000000000', // acpi_rsdp_addr
      488: '04', // e820_entries
      495: '00', // sentinel: 0xff in the file
      497: '01', // setup_sects
      500: '80000000', // syssize
      506: 'ffff', // vid_mode
      510: '55aaeb6a486472530f02', // boot_flag, jump, HdrS, version
      528: 'ff01', // type_of_loader, loadflags
      532: '00000001', // code32_start
      552: '00900900', // cmd_line_ptr
      556: 'ffffff7f', // initrd_addr_max
      560: '00002000', // kernel_alignment
      564: '01', // relocatable_kernel
      566: '0100', // xloadflags
      568: 'ff070000', // cmdline_size
      592: '0000000000000000', // setup_data: 0x1234 in the file
      600: '0000000100000000', // pref_address
      608: '00400000', // init_size
      720: E820,
    }),
  );
});

/** 32 MiB of RAM as boot_e820_entry records. */
const E820 =
  '000000000000000000fc09000000000001000000' +
  '00fc090000000000000404000000000002000000' +
  '00000e0000000000000002000000000003000000' +
  '00001000000000000000f0010000000001000000';

/** A page of zeros with these fields, offset to hex. */
function page(fields: Record<number, string>): string {
  const bytes = Buffer.alloc(0x1000);
  for (const [offset, value] of Object.entries(fields)) bytes.write(value, Number(offset), 'hex');
  return bytes.toString('hex');
}

test('a 32-bit bzImage starts in protected mode', () => {
  const plan = loadKernel(new ArrayRam(32 * MIB), options(fakeBzImage(0x800, { xloadflags: 0 })));
  expect(plan).toMatchObject({
    protocol: 'linux32',
    state: { mode: 'protected32', rip: 0x1000000, rsi: 0x97000 },
  });
});

test('the initrd goes as high as the kernel lets it', () => {
  const ram = new ArrayRam(32 * MIB);
  const below = options(fakeBzImage(0x800, { initrd_addr_max: 0x17fffff }), { initrd: [initrd(5000, 1)] });
  expect(loadKernel(ram, below).initrd).toEqual({ gpa: 0x17fe000, size: 5000 });
});

test('the initrd goes below a kernel that fills the top of RAM', () => {
  const ram = new ArrayRam(32 * MIB);
  const kernel = fakeElf({ entry: 0x1f00000, segments: [{ paddr: 0x1f00000, data: code(64), memsz: MIB }] });
  expect(loadKernel(ram, options(kernel, { initrd: [initrd(4096, 1)] })).initrd?.gpa).toBe(0x1eff000);
});

test('an initrd that does not fit says how much memory it would take', () => {
  const ram = new ArrayRam(32 * MIB);
  const error = failure(() => loadKernel(ram, options(fakeBzImage(), { initrd: [initrd(31 * MIB, 1)] })));
  expect(error).toMatchObject({
    code: 'INITRD_TOO_LARGE',
    message: 'the initrd "i" needs 31 MiB and does not fit beside the kernel in 32 MiB of low RAM',
    hint: 'give the guest at least 48 MiB of memory, and as much again for unpacking',
  });
});

test('a kernel that does not fit says how much memory it would take, and writes nothing', () => {
  const ram = new ArrayRam(8 * MIB);
  expect(failure(() => loadKernel(ram, options(fakeBzImage())))).toMatchObject({
    code: 'KERNEL_OUTSIDE_RAM',
    message:
      'the kernel "k" does not fit: a segment needs guest memory 0x1000000-0x1004000, and the guest has 8 MiB of low RAM',
    hint: 'give the guest at least 17 MiB of memory, and more for its own work',
  });
  expect(ram.bytes(0, 8 * MIB).every((byte) => byte === 0)).toBe(true);
});

test('a command line is measured in bytes against what the kernel keeps', () => {
  const ram = new ArrayRam(32 * MIB);
  const long = (length: number) => 'x'.repeat(length);
  expect(loadKernel(ram, options(fakePvhKernel(), { cmdline: long(2047) })).cmdline?.text).toHaveLength(2047);
  expect(failure(() => loadKernel(ram, options(fakePvhKernel(), { cmdline: long(2048) })))).toMatchObject({
    code: 'CMDLINE_TOO_LONG',
    message: 'the kernel command line has 2048 bytes, and this kernel takes at most 2047',
  });
  const short = fakeBzImage(0x800, { cmdline_size: 255 });
  expect(failure(() => loadKernel(ram, options(short, { cmdline: 'ä'.repeat(128) })))).toMatchObject({
    message: 'the kernel command line has 256 bytes, and this kernel takes at most 255',
  });
  expect(failure(() => loadKernel(ram, options(short, { cmdline: 'a\0b' }))).code).toBe(
    'CMDLINE_BAD_CHARACTER',
  );
});

test('a protocol that the kernel does not speak is refused', () => {
  const ram = new ArrayRam(32 * MIB);
  expect(failure(() => loadKernel(ram, options(fakeBzImage(), { protocol: 'pvh' })))).toMatchObject({
    code: 'KERNEL_NO_ENTRY',
    message: 'the kernel "k" (64-bit bzImage) has no PVH entry (no Xen note of type 18)',
  });
  expect(
    failure(() => loadKernel(ram, options(fakeBzImage(0x800, { xloadflags: 0 }), { protocol: 'linux64' }))),
  ).toMatchObject({ message: 'the kernel "k" (32-bit bzImage) has no 64-bit entry' });
});

const segment = { paddr: 0x100000, data: code(64) };
test.each([
  ['overlapping segments', [segment, { paddr: 0x100020, data: code(64) }], 'KERNEL_BAD_SEGMENT'],
  ['a segment on the boot structures', [segment, { paddr: 0x97800, data: code(4) }], 'KERNEL_BAD_SEGMENT'],
  ['a segment on the ACPI tables', [segment, { paddr: 0xf0000, data: code(4) }], 'KERNEL_BAD_SEGMENT'],
  ['more in the file than in memory', [{ ...segment, memsz: 63 }], 'KERNEL_BAD_SEGMENT'],
  [
    'a segment at the end of the address space',
    [segment, { paddr: 2 ** 53 - 8, data: code(4) }],
    'KERNEL_OUTSIDE_RAM',
  ],
  ['a segment of 2^60 bytes', [{ ...segment, memsz: 2 ** 60 }], 'KERNEL_OUTSIDE_RAM'],
  [
    'a segment beyond the end of the file',
    [{ ...segment, filesz: 0x10000, memsz: 0x10000 }],
    'KERNEL_TRUNCATED',
  ],
  ['nothing to load', [{ ...segment, type: 7 }], 'KERNEL_BAD_ENTRY'],
  [
    'an entry in bss',
    [
      { paddr: 0xffff0, data: code(4), memsz: 0 },
      { ...segment, paddr: 0x200000 },
    ],
    'KERNEL_BAD_ENTRY',
  ],
])('%s: refused', (_, segments, expected) => {
  const error = failure(() =>
    loadKernel(new ArrayRam(32 * MIB), options(fakeElf({ entry: 0x100000, segments }))),
  );
  expect(error.code).toBe(expected);
  expect(error.message).toContain('"k"');
  expect(error.hint).toBeTruthy();
});

test('more segments than any kernel has are refused', () => {
  const segments = Array.from({ length: 129 }, (_, index) => ({
    paddr: 0x100000 + index * 64,
    data: code(4),
  }));
  expect(
    failure(() => loadKernel(new ArrayRam(32 * MIB), options(fakeElf({ entry: 0x100000, segments })))).code,
  ).toBe('KERNEL_TOO_MANY_SEGMENTS');
});

const text = (value: string) => new TextEncoder().encode(value);
function at(offset: number, magic: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(0x1000).fill(0x11);
  bytes.set(magic, offset);
  return bytes;
}
test.each([
  ['gzip', at(0, [0x1f, 0x8b]), 'a gzip file'],
  ['arm64', at(0x38, [...text('ARMd')]), 'a kernel Image for arm64'],
  ['an initramfs', text('0707010000'), 'a cpio archive (an initramfs)'],
  ['a script', text('#!/bin/sh\n'), 'a script'],
  ['a text', text('hello\n'), 'a text file'],
  ['zeros', new Uint8Array(100), 'a file of zeros'],
  ['a disk', at(510, [0x55, 0xaa]), 'a disk image or boot sector'],
  ['an EFI program', at(0, [...text('MZ')]), 'an EFI or DOS program'],
  ['a cut ELF', Uint8Array.of(0x7f, 0x45, 0x4c, 0x46), 'a truncated ELF file'],
  ['one byte', Uint8Array.of(0x80, 0), 'a file of unknown kind'],
])('%s is no kernel, and the error says what it looks like', (_, bytes, looks) => {
  const error = failure(() => loadKernel(new ArrayRam(MIB), options(bytes)));
  expect(error.code).toMatch(/^KERNEL_NOT_A_KERNEL$/);
  expect(error.message).toMatch(/^not a kernel: "k" looks like /);
  expect(error.message).toContain(looks);
});

test('an empty kernel is called empty', () => {
  expect(failure(() => loadKernel(new ArrayRam(MIB), options(new Uint8Array(0))))).toMatchObject({
    code: 'KERNEL_EMPTY',
    message: 'the kernel "k" is empty',
  });
});
