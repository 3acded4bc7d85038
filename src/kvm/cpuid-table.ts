/** struct kvm_cpuid2 to and from plain objects. */
import { KvmCpuid2, KvmCpuidEntry2 } from './structs.js';

/** KVM_CPUID_FLAG_SIGNIFCANT_INDEX: `index` (ECX) selects the entry. */
export const CPUID_SIGNIFICANT_INDEX = 1;

/** One CPUID leaf (or subleaf) as KVM stores it. All fields are u32. */
export interface CpuidEntry {
  function: number;
  index: number;
  flags: number;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

const HEADER_WORDS = KvmCpuid2.size / 4;
const ENTRY_WORDS = KvmCpuidEntry2.size / 4;

/** Packs entries behind a header; `capacity` reserves room for KVM to fill. */
export function encodeCpuid(entries: readonly CpuidEntry[], capacity = entries.length): Uint32Array {
  const words = new Uint32Array(HEADER_WORDS + capacity * ENTRY_WORDS);
  words[0] = capacity;
  entries.forEach((entry, i) => {
    const { eax, ebx, ecx, edx } = entry;
    words.set([entry.function, entry.index, entry.flags, eax, ebx, ecx, edx], HEADER_WORDS + i * ENTRY_WORDS);
  });
  return words;
}

/** Unpacks what KVM wrote. */
export function decodeCpuid(words: Uint32Array): CpuidEntry[] {
  return Array.from({ length: words[0] }, (_, i) => {
    const [fn, index, flags, eax, ebx, ecx, edx] = words.subarray(HEADER_WORDS + i * ENTRY_WORDS);
    return { function: fn, index, flags, eax, ebx, ecx, edx };
  });
}
