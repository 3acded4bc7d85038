import { expect, test } from 'vitest';
import type { CpuidEntry } from '../kvm/cpuid-table.js';
import { TvmmError } from '../sys/errors.js';
import { CPU_FEATURES, guestCpuid, parseCpuMask } from './cpuid.js';

function leaf(fn: number, index: number, registers: Partial<CpuidEntry> = {}): CpuidEntry {
  return { function: fn, index, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0, ...registers };
}

const SUPPORTED = [
  leaf(0, 0, { eax: 0x1f }),
  leaf(1, 0, { ebx: 0x0102_0800, ecx: 1 << 13, edx: 0xffff_ffff }),
  leaf(4, 0, { eax: 0xffff_c121 }),
  leaf(4, 1, { eax: 0xffff_c163 }),
  leaf(7, 0, { ebx: 0xffff_ffff }),
  leaf(0xb, 0, { ebx: 99 }),
  leaf(0x8000_0008, 0, { eax: 0x3030, ecx: 0x7fff }),
];

function find(entries: CpuidEntry[], fn: number, index = 0): CpuidEntry {
  const entry = entries.find((candidate) => candidate.function === fn && candidate.index === index);
  if (entry === undefined) throw new Error(`no leaf ${fn.toString(16)}.${index}`);
  return entry;
}

test('each vCPU reads its own APIC id in every place where processors tell it', () => {
  const entries = guestCpuid(SUPPORTED, { apicId: 3, cpus: 4, mask: [] });
  expect(find(entries, 1).ebx >>> 24).toBe(3);
  for (const index of [0, 1, 2]) {
    expect(find(entries, 0xb, index).edx).toBe(3);
    expect(find(entries, 0x1f, index).edx).toBe(3);
  }
});

test('the topology is one thread a core and all cores in one package', () => {
  const entries = guestCpuid(SUPPORTED, { apicId: 0, cpus: 6, mask: [] });
  expect((find(entries, 1).ebx >>> 16) & 0xff).toBe(8);
  expect((find(entries, 1).edx >>> 28) & 1).toBe(1);
  expect(find(entries, 0xb, 0)).toMatchObject({ eax: 0, ebx: 1, ecx: 0x100 });
  expect(find(entries, 0xb, 1)).toMatchObject({ eax: 3, ebx: 6, ecx: 0x201 });
  expect(find(entries, 0x8000_0008).ecx).toBe((0x7fff & 0x0f00) | (3 << 12) | 5);
  // Level 1 is private, level 3 is shared by all.
  expect((find(entries, 4, 0).eax >>> 14) & 0xfff).toBe(0);
  expect((find(entries, 4, 1).eax >>> 14) & 0xfff).toBe(7);
});

test('more processors than leaf 1 can count leave the APIC id next to the count alone', () => {
  const { ebx } = find(guestCpuid(SUPPORTED, { apicId: 2, cpus: 300, mask: [] }), 1);
  expect([ebx >>> 24, (ebx >>> 16) & 0xff]).toEqual([2, 255]);
});

test('a single vCPU shows no hyper-threading', () => {
  const entries = guestCpuid(SUPPORTED, { apicId: 0, cpus: 1, mask: [] });
  expect((find(entries, 1).edx >>> 28) & 1).toBe(0);
  expect((find(entries, 1).ebx >>> 16) & 0xff).toBe(1);
});

test('the guest sees the hypervisor bit and the TSC-deadline timer', () => {
  const { ecx } = find(guestCpuid(SUPPORTED, { apicId: 0, cpus: 1, mask: [] }), 1);
  expect([(ecx >>> 31) & 1, (ecx >>> 24) & 1]).toEqual([1, 1]);
});

test('masked features are hidden, all others stay, and the supported table is left alone', () => {
  const before = structuredClone(SUPPORTED);
  const entries = guestCpuid(SUPPORTED, { apicId: 0, cpus: 1, mask: ['avx2', 'cx16', 'tsc_deadline_timer'] });
  expect(find(entries, 7).ebx).toBe(0xffff_ffff - (1 << 5));
  expect(find(entries, 1).ecx & ((1 << 13) | (1 << 24))).toBe(0);
  expect(SUPPORTED).toEqual(before);
});

test('every entry stays within 32 unsigned bits', () => {
  for (const cpus of [1, 2, 255, 1024]) {
    for (const entry of guestCpuid(SUPPORTED, { apicId: cpus - 1, cpus, mask: Object.keys(CPU_FEATURES) })) {
      for (const value of [entry.eax, entry.ebx, entry.ecx, entry.edx]) {
        expect(value >= 0 && value <= 0xffff_ffff && Number.isInteger(value), JSON.stringify(entry)).toBe(
          true,
        );
      }
    }
  }
});

test('a mask is a list of known names', () => {
  expect(parseCpuMask(' avx2, rdrand ,,')).toEqual(['avx2', 'rdrand']);
  expect(() => parseCpuMask('avx2,avx9')).toThrow(/"avx9"/);
  expect(() => parseCpuMask('toString')).toThrow(TvmmError);
});
