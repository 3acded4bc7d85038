/**
 * The guest's memory map: which addresses are RAM, which it must leave alone. One list serves both forms that a
 * kernel reads: e820 entries of boot_params (Documentation/arch/x86/zero-page.rst) and hvm_memmap_table_entry of PVH.
 *
 * PC convention below 1 MiB: RAM up to the EBDA, then reserved, then the ACPI area. It does not decide where RAM is.
 */
import type { Gpa, RamRange } from '../memory/types.js';
import { hex, MachineDescriptionError } from './errors.js';
import { ACPI_AREA_END, ACPI_AREA_START, EBDA_START, HIGH_MEMORY_START, overlaps } from './layout.js';

/** Address range types (ACPI 6.5, table 15.5): the same numbers in e820 and in PVH. */
export const MEMORY_TYPE = { ram: 1, reserved: 2, acpi: 3 } as const;

export interface MemoryMapEntry {
  readonly gpa: Gpa;
  /** Bytes. */
  readonly size: number;
  readonly type: keyof typeof MEMORY_TYPE;
}

/** What boot_params holds (E820_MAX_ENTRIES_ZEROPAGE); Linux takes no more from PVH either. */
export const MEMORY_MAP_MAX_ENTRIES = 128;

/**
 * RAM ranges that a loader may use as one: adjacent slots joined, read-only ones left out, ascending.
 */
export function writableSpans(ranges: readonly RamRange[]): { gpa: Gpa; size: number }[] {
  const spans: { gpa: Gpa; size: number }[] = [];
  for (const range of [...ranges].sort((a, b) => a.gpa - b.gpa)) {
    if (range.readOnly || range.size === 0) continue;
    const last = spans.at(-1);
    if (last !== undefined && last.gpa + last.size === range.gpa) last.size += range.size;
    else spans.push({ gpa: range.gpa, size: range.size });
  }
  return spans;
}

/**
 * Builds the map from the machine's RAM and the ranges it reserves (at least the ECAM window: Linux uses it only
 * where the map says reserved).
 *
 * @throws MachineDescriptionError `MEMORY_MAP_OVERLAP` when a reserved range lies in RAM or in another one,
 * `MEMORY_MAP_TOO_LONG` above 128 entries.
 */
export function buildMemoryMap(
  ranges: readonly RamRange[],
  reserved: readonly { gpa: Gpa; size: number }[] = [],
): MemoryMapEntry[] {
  const ram = writableSpans(ranges);
  const entries: MemoryMapEntry[] = [];
  for (const span of ram) {
    const end = span.gpa + span.size;
    push(entries, span.gpa, Math.min(end, EBDA_START), 'ram');
    push(entries, Math.max(span.gpa, HIGH_MEMORY_START), end, 'ram');
  }
  if (ram.some((span) => span.gpa < HIGH_MEMORY_START && span.gpa + span.size > EBDA_START)) {
    push(entries, EBDA_START, ACPI_AREA_START, 'reserved');
    push(entries, ACPI_AREA_START, ACPI_AREA_END, 'acpi');
  }
  const readOnly = ranges.filter((range) => range.readOnly);
  for (const range of [...readOnly, ...reserved]) {
    const entry: MemoryMapEntry = { gpa: range.gpa, size: range.size, type: 'reserved' };
    const clash = entries.find((other) => overlaps(other, entry));
    if (clash !== undefined) {
      throw new MachineDescriptionError(
        `the reserved range ${hex(entry.gpa)}+${hex(entry.size)} overlaps ${clash.type} at ${hex(clash.gpa)}+${hex(clash.size)}`,
        { code: 'MEMORY_MAP_OVERLAP', hint: 'place device windows outside RAM and above 1 MiB' },
      );
    }
    push(entries, entry.gpa, entry.gpa + entry.size, 'reserved');
  }
  if (entries.length > MEMORY_MAP_MAX_ENTRIES) {
    throw new MachineDescriptionError(
      `the memory map has ${entries.length} entries, more than the ${MEMORY_MAP_MAX_ENTRIES} that a kernel reads`,
      { code: 'MEMORY_MAP_TOO_LONG', hint: 'reserve fewer, larger ranges' },
    );
  }
  return entries.sort((a, b) => a.gpa - b.gpa);
}

function push(entries: MemoryMapEntry[], start: Gpa, end: Gpa, type: MemoryMapEntry['type']): void {
  if (end > start) entries.push({ gpa: start, size: end - start, type });
}

/** The map as boot_e820_entry records: 20 packed bytes each (addr u64, size u64, type u32). */
export function encodeE820(entries: readonly MemoryMapEntry[]): Uint8Array {
  return encode(entries, 20);
}

/** The map as hvm_memmap_table_entry records: 24 bytes each (addr u64, size u64, type u32, reserved u32). */
export function encodeHvmMemmap(entries: readonly MemoryMapEntry[]): Uint8Array {
  return encode(entries, 24);
}

function encode(entries: readonly MemoryMapEntry[], stride: number): Uint8Array {
  const bytes = new Uint8Array(entries.length * stride);
  const view = new DataView(bytes.buffer);
  entries.forEach((entry, index) => {
    view.setBigUint64(index * stride, BigInt(entry.gpa), true);
    view.setBigUint64(index * stride + 8, BigInt(entry.size), true);
    view.setUint32(index * stride + 16, MEMORY_TYPE[entry.type], true);
  });
  return bytes;
}
