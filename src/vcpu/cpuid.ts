/**
 * The CPUID that a guest sees: what KVM supports, with a declared filter (Intel SDM vol. 2A CPUID, AMD APM vol. 3 appendix E).
 *
 * The filter: APIC id and topology per vCPU, the hypervisor bit, the TSC-deadline timer that KVM's local APIC always has, and the features that
 * `--cpu-mask` hides. Everything else is passed through from KVM_GET_SUPPORTED_CPUID.
 */
import { CPUID_SIGNIFICANT_INDEX, type CpuidEntry } from '../kvm/cpuid-table.js';
import { TvmmError } from '../sys/errors.js';

type Register = 'eax' | 'ebx' | 'ecx' | 'edx';

/** A feature bit: leaf, subleaf, register, bit. */
export type FeatureBit = readonly [leaf: number, subleaf: number, register: Register, bit: number];

/** Feature names as /proc/cpuinfo spells them. */
export const CPU_FEATURES: Readonly<Record<string, FeatureBit>> = {
  pclmulqdq: [1, 0, 'ecx', 1],
  ssse3: [1, 0, 'ecx', 9],
  fma: [1, 0, 'ecx', 12],
  cx16: [1, 0, 'ecx', 13],
  pcid: [1, 0, 'ecx', 17],
  sse4_1: [1, 0, 'ecx', 19],
  sse4_2: [1, 0, 'ecx', 20],
  x2apic: [1, 0, 'ecx', 21],
  movbe: [1, 0, 'ecx', 22],
  popcnt: [1, 0, 'ecx', 23],
  tsc_deadline_timer: [1, 0, 'ecx', 24],
  aes: [1, 0, 'ecx', 25],
  xsave: [1, 0, 'ecx', 26],
  avx: [1, 0, 'ecx', 28],
  f16c: [1, 0, 'ecx', 29],
  rdrand: [1, 0, 'ecx', 30],
  mtrr: [1, 0, 'edx', 12],
  fsgsbase: [7, 0, 'ebx', 0],
  bmi1: [7, 0, 'ebx', 3],
  avx2: [7, 0, 'ebx', 5],
  smep: [7, 0, 'ebx', 7],
  bmi2: [7, 0, 'ebx', 8],
  erms: [7, 0, 'ebx', 9],
  invpcid: [7, 0, 'ebx', 10],
  avx512f: [7, 0, 'ebx', 16],
  rdseed: [7, 0, 'ebx', 18],
  adx: [7, 0, 'ebx', 19],
  smap: [7, 0, 'ebx', 20],
  clflushopt: [7, 0, 'ebx', 23],
  clwb: [7, 0, 'ebx', 24],
  sha_ni: [7, 0, 'ebx', 29],
  umip: [7, 0, 'ecx', 2],
  pku: [7, 0, 'ecx', 3],
  vaes: [7, 0, 'ecx', 9],
  vpclmulqdq: [7, 0, 'ecx', 10],
  la57: [7, 0, 'ecx', 16],
  rdpid: [7, 0, 'ecx', 22],
  fsrm: [7, 0, 'edx', 4],
  svm: [0x8000_0001, 0, 'ecx', 2],
  vmx: [1, 0, 'ecx', 5],
  nx: [0x8000_0001, 0, 'edx', 20],
  pdpe1gb: [0x8000_0001, 0, 'edx', 26],
  rdtscp: [0x8000_0001, 0, 'edx', 27],
  kvm_clock: [0x4000_0001, 0, 'eax', 3],
  kvm_pv_eoi: [0x4000_0001, 0, 'eax', 6],
};

const HYPERVISOR: FeatureBit = [1, 0, 'ecx', 31];
const TSC_DEADLINE: FeatureBit = [1, 0, 'ecx', 24];

/** Parses `--cpu-mask`: feature names to hide, separated by commas. @throws TvmmError for an unknown name */
export function parseCpuMask(text: string): string[] {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  for (const name of names) {
    if (Object.hasOwn(CPU_FEATURES, name)) continue;
    throw new TvmmError(`unknown CPU feature "${name}" in --cpu-mask`, {
      code: 'CPU_MASK',
      hint: `Known names: ${Object.keys(CPU_FEATURES).join(', ')}.`,
    });
  }
  return names;
}

/** How one vCPU differs from the others. */
export interface CpuidPolicy {
  apicId: number;
  cpus: number;
  /** Feature names to hide. */
  mask: readonly string[];
}

function setBit(entries: CpuidEntry[], [leaf, subleaf, register, bit]: FeatureBit, on: boolean): void {
  for (const entry of entries) {
    if (entry.function !== leaf || entry.index !== subleaf) continue;
    const value = on ? entry[register] | (1 << bit) : entry[register] & ~(1 << bit);
    entry[register] = value >>> 0;
  }
}

/** Bits needed to number `count` things. */
function widthOf(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
}

/** Extended topology, leaves 0xB and 0x1F: one thread a core, all cores in one package. */
function topologyLeaf(leaf: number, policy: CpuidPolicy): CpuidEntry[] {
  const width = widthOf(policy.cpus);
  const base = { function: leaf, flags: CPUID_SIGNIFICANT_INDEX, edx: policy.apicId };
  return [
    { ...base, index: 0, eax: 0, ebx: 1, ecx: 0x100 },
    { ...base, index: 1, eax: width, ebx: policy.cpus, ecx: 0x201 },
    { ...base, index: 2, eax: 0, ebx: 0, ecx: 2 },
  ];
}

/** Applies the filter; `supported` is not changed. */
export function guestCpuid(supported: readonly CpuidEntry[], policy: CpuidPolicy): CpuidEntry[] {
  const entries = supported
    .filter((entry) => entry.function !== 0xb && entry.function !== 0x1f)
    .map((entry) => ({ ...entry }));
  const width = widthOf(policy.cpus);
  const hasExtendedTopology = supported.some((entry) => entry.function === 0xb);
  for (const entry of entries) {
    switch (entry.function) {
      case 1:
        // EBX: initial APIC id 31:24, logical processors 23:16 (both of 8 bits: leaf 0xB tells more). EDX bit 28 (HTT): the count counts.
        entry.ebx = ((entry.ebx & 0xffff) | (Math.min(1 << width, 0xff) << 16) | (policy.apicId << 24)) >>> 0;
        entry.edx = (policy.cpus > 1 ? entry.edx | (1 << 28) : entry.edx & ~(1 << 28)) >>> 0;
        break;
      case 4:
        // EAX 31:26: cores a package; 25:14: sharers of this cache (levels 1 and 2 are private, 3 is shared).
        if ((entry.eax & 0x1f) !== 0) {
          const sharers = ((entry.eax >>> 5) & 7) >= 3 ? (1 << width) - 1 : 0;
          entry.eax = ((entry.eax & 0x3fff) | (sharers << 14) | ((((1 << width) - 1) & 0x3f) << 26)) >>> 0;
        }
        break;
      case 0x8000_0008:
        // ECX 15:12: APIC id size, 7:0: cores less one.
        entry.ecx = ((entry.ecx & 0xffff_0f00) | (width << 12) | ((policy.cpus - 1) & 0xff)) >>> 0;
        break;
      case 0x8000_001d:
        if ((entry.eax & 0x1f) !== 0) {
          const sharers = ((entry.eax >>> 5) & 7) >= 3 ? policy.cpus - 1 : 0;
          entry.eax = ((entry.eax & 0x3fff) | (sharers << 14)) >>> 0;
        }
        break;
      case 0x8000_001e:
        entry.eax = policy.apicId;
        entry.ebx = policy.apicId & 0xff;
        entry.ecx = 0;
        break;
    }
  }
  if (hasExtendedTopology) {
    entries.push(...topologyLeaf(0xb, policy));
    if ((supported.find((entry) => entry.function === 0)?.eax ?? 0) >= 0x1f)
      entries.push(...topologyLeaf(0x1f, policy));
  }
  setBit(entries, HYPERVISOR, true);
  setBit(entries, TSC_DEADLINE, true);
  for (const name of policy.mask) setBit(entries, CPU_FEATURES[name], false);
  return entries;
}
