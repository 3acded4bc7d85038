/**
 * The state that the first vCPU starts in, and what that state points to in guest memory: the boot GDT and the
 * identity page tables (Intel SDM vol. 3, 3.4.5 and 4.5; boot.rst "32-bit" and "64-bit boot protocol"; the PVH ABI).
 *
 * Only data: turning it into KVM_SET_SREGS and KVM_SET_REGS is the vCPU's part.
 */
import type { Gpa, GuestRam } from '../memory/types.js';
import { GDT_ADDRESS, PAGE_TABLES_ADDRESS, PAGE_TABLES_SIZE } from './layout.js';

/**
 * What the boot vCPU is set to before its first instruction. Registers that are left out are zero; interrupts are off.
 *
 * - `real16`: CR0.PE clear, every segment base 0, `rip` below 64 KiB.
 * - `protected32`: CR0.PE set, paging off, flat 4 GiB code and data segments.
 * - `long64`: CR0.PE|PG, CR4.PAE, EFER.LME|LMA, 64-bit code segment, `cr3` set.
 */
export interface InitialCpuState {
  readonly mode: 'real16' | 'protected32' | 'long64';
  readonly rip: Gpa;
  readonly rsp?: number;
  readonly rbx?: number;
  readonly rsi?: number;
  readonly cr3?: Gpa;
  /** Present in protected32 and long64: GDTR, and the selectors whose descriptors the table holds. */
  readonly gdt?: BootGdt;
}

export interface BootGdt {
  readonly base: Gpa;
  /** GDTR limit: size of the table minus one. */
  readonly limit: number;
  /** __BOOT_CS. */
  readonly code: number;
  /** __BOOT_DS, for DS, ES, SS, FS and GS. */
  readonly data: number;
  /** A busy 32-bit TSS (64-bit in long mode) of base 0 and limit 0x67, which PVH asks for. */
  readonly tss: number;
}

/** Selectors that Linux's boot protocol fixes (__BOOT_CS, __BOOT_DS); the TSS follows them as in Linux itself. */
const BOOT_CS = 0x10;
const BOOT_DS = 0x18;
const BOOT_TSS = 0x20;

/** Descriptors with base 0, present, ring 0, accessed or busy (SDM vol. 3, figure 3-8 and table 3-2). */
const DESCRIPTOR = {
  code32: 0x00cf_9b00_0000_ffffn,
  code64: 0x00af_9b00_0000_ffffn,
  data: 0x00cf_9300_0000_ffffn,
  tss: 0x0000_8b00_0000_0067n,
} as const;

/** null, null, code, data, TSS (16 bytes in long mode). */
const GDT_ENTRIES = 6;

/** Page-table bits (SDM vol. 3, table 4-18): present, writable, and PS for a 2 MiB leaf. */
const PTE_TABLE = 0x3n;
const PTE_LARGE_PAGE = 0x83n;
const LARGE_PAGE = 0x20_0000n;

/** Writes the boot GDT at {@link GDT_ADDRESS} with a 32-bit or a 64-bit code segment. */
export function writeBootGdt(ram: GuestRam, code: 'code32' | 'code64'): BootGdt {
  const bytes = new Uint8Array(GDT_ENTRIES * 8);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(BOOT_CS, DESCRIPTOR[code], true);
  view.setBigUint64(BOOT_DS, DESCRIPTOR.data, true);
  view.setBigUint64(BOOT_TSS, DESCRIPTOR.tss, true);
  ram.write(GDT_ADDRESS, bytes);
  return { base: GDT_ADDRESS, limit: bytes.length - 1, code: BOOT_CS, data: BOOT_DS, tss: BOOT_TSS };
}

/**
 * Maps the first 4 GiB one to one with 2 MiB pages (every long-mode CPU has them, 1 GiB pages not) and returns the
 * value for CR3.
 */
export function writeIdentityPageTables(ram: GuestRam): Gpa {
  const bytes = new Uint8Array(PAGE_TABLES_SIZE);
  const view = new DataView(bytes.buffer);
  const table = (index: number) => BigInt(PAGE_TABLES_ADDRESS + index * 0x1000);
  view.setBigUint64(0, table(1) | PTE_TABLE, true);
  for (let directory = 0; directory < 4; directory++) {
    view.setBigUint64(0x1000 + directory * 8, table(2 + directory) | PTE_TABLE, true);
  }
  for (let page = 0; page < 4 * 512; page++) {
    view.setBigUint64(0x2000 + page * 8, (BigInt(page) * LARGE_PAGE) | PTE_LARGE_PAGE, true);
  }
  ram.write(PAGE_TABLES_ADDRESS, bytes);
  return PAGE_TABLES_ADDRESS;
}
