/**
 * Kernels from a hostile hand: whatever the file says, the loader answers with a plan whose every byte lies in RAM or
 * with one of the project's errors, reads nothing outside the file and asks for a bounded amount of it.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ArrayRam } from '../memory/fake-ram.js';
import { TvmmError } from '../sys/errors.js';
import { SETUP_HEADER } from './bzimage.js';
import { code, fakeBzImage, fakeElf, fakePvhKernel, pvhNoteSegment } from './fake-kernels.js';
import { BOOT_STRUCTURES, overlaps } from './layout.js';
import { loadKernel } from './load-kernel.js';
import { buildMemoryMap } from './memory-map.js';
import type { LoadOptions } from './plan.js';
import { type ByteSource, BytesSource } from './source.js';

const RAM_SIZE = 4 * 2 ** 20;
/** A parse and a load read the loaded bytes, a few headers and notes: never many times the file. */
const READ_BUDGET = 4 * RAM_SIZE;

/** Counts what is asked for; the checks themselves are those of BytesSource. */
class CountingSource implements ByteSource {
  readonly #inner: BytesSource;
  readonly name = 'fuzz';
  bytesRead = 0;
  calls = 0;

  constructor(bytes: Uint8Array) {
    this.#inner = new BytesSource(bytes, this.name);
  }
  get size(): number {
    return this.#inner.size;
  }
  read(offset: number, length: number): Uint8Array {
    this.#count(length);
    return this.#inner.read(offset, length);
  }
  readInto(target: Uint8Array, offset: number): void {
    this.#count(target.length);
    this.#inner.readInto(target, offset);
  }
  #count(length: number): void {
    this.calls++;
    this.bytesRead += length;
  }
}

/** RAM is made once and reused: 4 MiB for every run would make the collector the thing under test. */
const ram = new ArrayRam(RAM_SIZE);
const memoryMap = buildMemoryMap(ram.ranges);

/** Loads `bytes` and says whether it was accepted; fails on any breach of the promise above. */
function survives(bytes: Uint8Array, more: Partial<LoadOptions> = {}): boolean {
  const kernel = new CountingSource(bytes);
  const initrd = [new BytesSource(code(100), 'i', 'initrd')];
  try {
    const options = { kernel, initrd, cmdline: 'x', acpiRsdp: 0xe0000, memoryMap, ...more };
    const plan = loadKernel(ram, options);
    for (const segment of plan.segments) {
      expect(ram.contains(segment.gpa, segment.size)).toBe(true);
      expect(segment.fileOffset + segment.fileSize).toBeLessThanOrEqual(bytes.length);
      for (const structure of BOOT_STRUCTURES) expect(overlaps(structure, segment)).toBe(false);
      if (plan.initrd !== undefined) expect(overlaps(plan.initrd, segment)).toBe(false);
    }
    expect(ram.contains(plan.state.rip, 1)).toBe(true);
    return true;
  } catch (error) {
    if (!(error instanceof TvmmError)) throw error;
    expect(error.message).not.toContain('NaN');
    return false;
  } finally {
    expect(kernel.bytesRead).toBeLessThanOrEqual(READ_BUDGET);
    expect(kernel.calls).toBeLessThan(1000);
  }
}

/** Values that break arithmetic, and ones that nearly fit. */
const nasty = fc.oneof(
  fc.constantFrom(
    ...[
      0,
      1,
      2,
      0xff,
      0xffff,
      0x10000,
      0x90000,
      0x9fc00,
      0xfffff,
      0x100000,
      0x100001,
      RAM_SIZE - 1,
      RAM_SIZE,
    ],
    ...[2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 52, 2 ** 53, 2 ** 63],
  ),
  fc.nat(0x1000),
  fc.nat(0xffffffff),
  fc.maxSafeNat(),
);

const RUNS = { numRuns: 400 };

test('the fuzzer starts from kernels that load', () => {
  expect(survives(fakePvhKernel())).toBe(true);
  expect(survives(fakeBzImage(0x800, { pref_address: 0x200000 }))).toBe(true);
});

test('random bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
      survives(bytes);
    }),
    RUNS,
  );
});

test('random bytes as a flat binary at a random address', () => {
  const mode = fc.constantFrom('real16' as const, 'protected32' as const, 'long64' as const);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), mode, nasty, nasty, (bytes, kind, address, entry) => {
      survives(bytes, { protocol: 'flat', flat: { mode: kind, address, entry }, initrd: [] });
    }),
    RUNS,
  );
});

test('ELF files that are cut anywhere', () => {
  const whole = fakePvhKernel();
  for (let length = 0; length < whole.length; length += length < 0x200 ? 1 : 37)
    survives(whole.subarray(0, length));
});

test('bzImages that are cut anywhere', () => {
  const whole = fakeBzImage(0x800, { pref_address: 0x200000 });
  for (let length = 0; length < whole.length; length += length < 0x300 ? 1 : 37)
    survives(whole.subarray(0, length));
});

test('ELF files with random bytes written over their headers', () => {
  const writes = fc.array(fc.tuple(fc.nat(0x1ff), fc.nat(255)), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(writes, (changes) => {
      const bytes = fakePvhKernel();
      for (const [offset, value] of changes) bytes[offset] = value;
      survives(bytes);
    }),
    RUNS,
  );
});

test('ELF files with hostile program headers', () => {
  const segment = fc.record({
    type: fc.constantFrom(1, 1, 1, 3, 4, 7),
    paddr: nasty,
    vaddr: nasty,
    offset: nasty,
    filesz: nasty,
    memsz: nasty,
    data: fc.uint8Array({ maxLength: 64 }),
  });
  const kernel = fc.record({
    bits: fc.constantFrom(32 as const, 64 as const),
    entry: nasty,
    segments: fc.array(segment, { maxLength: 6 }),
  });
  fc.assert(
    fc.property(kernel, (elf) => {
      survives(fakeElf(elf));
    }),
    RUNS,
  );
});

test('ELF files whose notes lie about their lengths', () => {
  const words = fc.array(fc.tuple(fc.nat(40), fc.nat(0xffffffff)), { maxLength: 4 });
  fc.assert(
    fc.property(words, (changes) => {
      const note = pvhNoteSegment(0x100000);
      const view = new DataView(note.data.buffer);
      for (const [offset, value] of changes)
        view.setUint32(Math.min(offset, note.data.length - 4), value, true);
      survives(fakeElf({ entry: 0x100000, segments: [{ paddr: 0x100000, data: code(64) }, note] }));
    }),
    RUNS,
  );
});

test('a file of nothing but program headers is read once', () => {
  const bytes = fakeElf({
    entry: 0x100000,
    segments: Array.from({ length: 65534 }, () => ({ paddr: 0x100000, data: new Uint8Array(0) })),
  });
  expect(survives(bytes)).toBe(false);
});

test('many note segments that all name the same bytes are read up to a limit', () => {
  const note = { ...pvhNoteSegment(0x100000), data: new Uint8Array(0), offset: 0, filesz: 0x10000 };
  const bytes = fakeElf({
    entry: 0x100000,
    segments: [{ paddr: 0x100000, data: code(0x10000) }, ...Array.from({ length: 2000 }, () => note)],
  });
  survives(bytes);
});

test('bzImages with hostile header fields', () => {
  const names = Object.keys(SETUP_HEADER) as (keyof typeof SETUP_HEADER)[];
  const change = fc.tuple(fc.constantFrom(...names), nasty);
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 5 }), (changes) => {
      const fields = Object.fromEntries(changes.map(([name, value]) => [name, storable(name, value)]));
      survives(fakeBzImage(0x800, { pref_address: 0x200000, ...fields }));
    }),
    RUNS,
  );
});

/** Only pref_address and setup_data hold more than 32 bits. */
function storable(name: string, value: number): number {
  return name === 'pref_address' || name === 'setup_data' ? value : value % 2 ** 32;
}
