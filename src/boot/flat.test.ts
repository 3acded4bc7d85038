import { expect, test } from 'vitest';
import { ArrayRam } from '../memory/fake-ram.js';
import { TvmmError } from '../sys/errors.js';
import { code } from './fake-kernels.js';
import { loadKernel } from './load-kernel.js';
import type { FlatOptions, LoadOptions } from './plan.js';
import { BytesSource } from './source.js';

const MIB = 2 ** 20;

function flat(options: FlatOptions | undefined, more: Partial<LoadOptions> = {}): LoadOptions {
  return {
    kernel: new BytesSource(code(100), 'micro'),
    cmdline: '',
    protocol: 'flat',
    ...(options === undefined ? {} : { flat: options }),
    acpiRsdp: 0,
    memoryMap: [],
    ...more,
  };
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof TvmmError) return error.code;
    throw error;
  }
  return 'nothing was thrown';
}

test('by default a flat binary runs in long mode at 0x1000 with a stack below the boot structures', () => {
  const ram = new ArrayRam(MIB);
  const plan = loadKernel(ram, flat(undefined));
  expect(plan.state).toEqual({
    mode: 'long64',
    rip: 0x1000,
    rsp: 0x90000,
    cr3: 0x91000,
    gdt: { base: 0x90000, limit: 47, code: 0x10, data: 0x18, tss: 0x20 },
  });
  expect(plan.structures.map(({ name }) => name)).toEqual(['boot GDT', 'identity page tables']);
  expect(ram.bytes(0x1000, 100)).toEqual(code(100));
});

test('real mode needs no boot structures and only the RAM that the binary fills', () => {
  const ram = new ArrayRam(0x2000);
  expect(loadKernel(ram, flat({ mode: 'real16' })).state).toEqual({
    mode: 'real16',
    rip: 0x1000,
    rsp: 0x1000,
  });
  expect(ram.bytes(0, 0x1000).every((byte) => byte === 0)).toBe(true);
});

test('a boot sector goes where a BIOS puts it, its stack below', () => {
  const plan = loadKernel(new ArrayRam(0x10000), flat({ mode: 'real16', address: 0x7c00 }));
  expect(plan.state).toEqual({ mode: 'real16', rip: 0x7c00, rsp: 0x7c00 });
});

test('address, entry and stack may be chosen, also above 1 MiB', () => {
  const plan = loadKernel(
    new ArrayRam(4 * MIB),
    flat({ mode: 'protected32', address: 2 * MIB, entry: 2 * MIB + 16, stack: 0x300000 }),
  );
  expect(plan.state).toMatchObject({ mode: 'protected32', rip: 2 * MIB + 16, rsp: 0x300000 });
});

test('RSI points to a command line if there is one', () => {
  const ram = new ArrayRam(MIB);
  expect(loadKernel(ram, flat({ mode: 'long64' }, { cmdline: 'n=1000' })).state.rsi).toBe(0x99000);
  expect(Buffer.from(ram.bytes(0x99000, 7)).toString()).toBe('n=1000\0');
});

test.each<[string, FlatOptions, number, string]>([
  ['on the boot structures', { mode: 'long64', address: 0x8fff0 }, MIB, 'KERNEL_BAD_SEGMENT'],
  ['outside RAM', { mode: 'real16', address: 0xffff }, 0x10000, 'KERNEL_OUTSIDE_RAM'],
  ['at no address', { mode: 'long64', address: Number.NaN }, MIB, 'KERNEL_BAD_ENTRY'],
  ['at a negative address', { mode: 'long64', address: -4096 }, MIB, 'KERNEL_OUTSIDE_RAM'],
  ['entered elsewhere', { mode: 'long64', entry: 0x2000 }, MIB, 'KERNEL_BAD_ENTRY'],
  ['entered out of real mode', { mode: 'real16', address: 0x10000 }, MIB, 'KERNEL_BAD_ENTRY'],
  ['with too little RAM for its tables', { mode: 'long64' }, 0x80000, 'KERNEL_OUTSIDE_RAM'],
  ['with a senseless stack', { mode: 'long64', stack: -1 }, MIB, 'KERNEL_FLAT_OPTIONS'],
])('a flat binary %s is refused', (_, options, size, expected) => {
  expect(codeOf(() => loadKernel(new ArrayRam(size), flat(options)))).toBe(expected);
});

test('a flat binary takes no initrd', () => {
  const initrd = [new BytesSource(code(4), 'i', 'initrd')];
  expect(codeOf(() => loadKernel(new ArrayRam(MIB), flat({ mode: 'long64' }, { initrd })))).toBe(
    'KERNEL_FLAT_OPTIONS',
  );
});
