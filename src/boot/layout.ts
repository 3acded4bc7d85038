/**
 * Every guest-physical address that booting chooses by itself, each with the reason for its value.
 *
 * All of it lies below 640 KiB, in one block that ends before the place where Linux's decompressor puts its
 * trampoline (the two pages below 0x9F000), so that the program area in front of it stays in one piece. A test proves
 * that nothing here overlaps. The map of devices and RAM above 1 MiB is the machine's, not this file's.
 */
import type { Gpa } from '../memory/types.js';

/** x86 page size; loaders and page tables use nothing else as "page". */
export const PAGE_SIZE = 0x1000;

/** Where a flat binary is loaded by default: behind the real-mode IVT and BDA, so that it may also use those. */
export const FLAT_LOAD_ADDRESS: Gpa = 0x1000;

/** First byte of the block of boot structures, and the top of the default stack that grows down in front of it. */
export const BOOT_BLOCK_START: Gpa = 0x90000;

/** Boot GDT: 6 descriptors; in a page of its own so that a guest may extend it in place. */
export const GDT_ADDRESS: Gpa = 0x90000;

/** Identity page tables: PML4, PDPT and four page directories of 2 MiB pages, page aligned as CR3 demands. */
export const PAGE_TABLES_ADDRESS: Gpa = 0x91000;
/** PML4 + PDPT + 4 page directories. */
export const PAGE_TABLES_SIZE = 6 * PAGE_SIZE;

/** boot_params, the "zero page" of the Linux boot protocol (any address; one page). */
export const BOOT_PARAMS_ADDRESS: Gpa = 0x97000;

/** hvm_start_info, then its module list and memory map, in one page. */
export const START_INFO_ADDRESS: Gpa = 0x98000;
/** hvm_modlist_entry array: behind the 56 bytes of start_info. */
export const MODULE_LIST_ADDRESS: Gpa = 0x98080;
/** hvm_memmap_table_entry array: the rest of the page holds more entries than Linux reads (128). */
export const MEMMAP_TABLE_ADDRESS: Gpa = 0x98100;
export const MEMMAP_TABLE_END: Gpa = 0x99000;

/** The kernel's command line with its NUL. Linux reads at most 2 KiB of it; other guests may take more. */
export const CMDLINE_ADDRESS: Gpa = 0x99000;
export const CMDLINE_AREA_SIZE = 4 * PAGE_SIZE;

/** One past the last byte of the boot structures: below 0x9D000, where Linux's decompressor saves its trampoline. */
export const BOOT_BLOCK_END: Gpa = 0x9d000;

/** Where conventional memory ends: one KiB for the EBDA below 640 KiB, as PC firmware leaves it. */
export const EBDA_START: Gpa = 0x9fc00;

/** ACPI tables: the BIOS area, where Linux also scans for "RSD PTR " on 16-byte boundaries (ACPI 6.5, 5.2.5.1). */
export const ACPI_AREA_START: Gpa = 0xe0000;
/** One past the last byte of the ACPI area. */
export const ACPI_AREA_END: Gpa = 0x100000;

/** Where RAM for kernels starts. */
export const HIGH_MEMORY_START: Gpa = 0x100000;

/** One past the highest address that 32-bit fields of the boot protocols can name. */
export const FOUR_GIB: Gpa = 2 ** 32;

/**
 * Bytes of command line that Linux keeps on x86, without the NUL (COMMAND_LINE_SIZE is 2048). PVH and a bare vmlinux
 * have no header field that says so, and the kernel cuts a longer one without a word.
 */
export const LINUX_CMDLINE_MAX = 2047;

/** A named range of guest memory, for checks and for the trace. */
export interface NamedRange {
  readonly name: string;
  readonly gpa: Gpa;
  /** Bytes. */
  readonly size: number;
}

/** What booting writes below 1 MiB. No segment of a kernel may touch it. */
export const BOOT_STRUCTURES: readonly NamedRange[] = [
  { name: 'boot GDT', gpa: GDT_ADDRESS, size: PAGE_SIZE },
  { name: 'identity page tables', gpa: PAGE_TABLES_ADDRESS, size: PAGE_TABLES_SIZE },
  { name: 'boot_params', gpa: BOOT_PARAMS_ADDRESS, size: PAGE_SIZE },
  { name: 'hvm_start_info', gpa: START_INFO_ADDRESS, size: PAGE_SIZE },
  { name: 'command line', gpa: CMDLINE_ADDRESS, size: CMDLINE_AREA_SIZE },
];

/** Whether two half-open ranges share a byte. */
export function overlaps(a: { gpa: Gpa; size: number }, b: { gpa: Gpa; size: number }): boolean {
  return a.gpa < b.gpa + b.size && b.gpa < a.gpa + a.size;
}

/** `value` rounded up to a multiple of `unit`. Plain arithmetic: bit operators stop at 32 bits. */
export function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** `value` rounded down to a multiple of `unit`. */
export function alignDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}
