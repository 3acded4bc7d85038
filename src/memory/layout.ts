/**
 * The machine's guest-physical address map: where RAM lies and what lives in the MMIO gap below 4 GiB. The numbers follow the PC:
 * the IOAPIC and local APIC have their architectural addresses, everything else is placed around them.
 */
import { TvmmError } from '../sys/errors.js';
import type { Gpa } from './types.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** RAM below 4 GiB ends here at the latest; the rest of the RAM continues at {@link HIGH_RAM_START}. */
export const MMIO_GAP_START = 0xc000_0000;
export const HIGH_RAM_START = 0x1_0000_0000;
/** 32-bit PCI BARs. */
export const PCI_MMIO32 = { base: 0xc000_0000, size: 0x1000_0000 } as const;
/** virtio-mmio register windows, 4 KiB each. */
export const VIRTIO_MMIO = { base: 0xd000_0000, stride: 0x1000, count: 64 } as const;
/** PCIe enhanced configuration space of bus 0 (PCI Firmware Specification 3.3, section 4.1). */
export const PCI_ECAM = { base: 0xe000_0000, size: 0x10_0000 } as const;
export const IOAPIC_BASE = 0xfec0_0000;
export const LAPIC_BASE = 0xfee0_0000;
/** One page for Intel's real-mode identity map, then three for its TSS (KVM API, 4.10 and 4.38). */
export const KVM_IDENTITY_MAP = 0xfeff_c000;
export const KVM_TSS = 0xfeff_d000;

export const PAGE_SIZE = 4096;
/** A Linux guest needs more; a flat guest does with this. */
const MIN_MEMORY = MIB;
/** What an x86-64 guest of 40 physical address bits can hold next to the gap and its PCI windows. */
const MAX_MEMORY = 512 * GIB;

/** A guest memory size that cannot be. */
export class MemorySizeError extends TvmmError {}

/**
 * Splits a RAM size into ranges around the MMIO gap.
 *
 * @param size bytes, a multiple of 4096
 * @throws MemorySizeError
 */
export function ramLayout(size: number): { gpa: Gpa; size: number }[] {
  const refuse = (why: string, code: string) => {
    throw new MemorySizeError(`guest memory of ${size} bytes ${why}`, {
      code,
      hint: 'Give a size such as 512M or 5G.',
    });
  };
  if (!Number.isSafeInteger(size) || size <= 0) refuse('is not a positive whole number', 'MEMORY_SIZE');
  if (size % PAGE_SIZE !== 0)
    refuse(`is not a multiple of the page size (${PAGE_SIZE})`, 'MEMORY_NOT_PAGE_MULTIPLE');
  if (size < MIN_MEMORY) refuse('is too small: at least 1 MiB', 'MEMORY_TOO_SMALL');
  if (size > MAX_MEMORY) refuse('is too large: at most 512 GiB', 'MEMORY_TOO_LARGE');
  if (size <= MMIO_GAP_START) return [{ gpa: 0, size }];
  return [
    { gpa: 0, size: MMIO_GAP_START },
    { gpa: HIGH_RAM_START, size: size - MMIO_GAP_START },
  ];
}
