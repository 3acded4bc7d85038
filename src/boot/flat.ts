/**
 * Raw flat binaries: code copied to an address and entered there, for benchmarks, lessons and micro-guests.
 *
 * No header, no relocation, no initrd. The binary may use all RAM that booting itself does not: in real mode that is
 * everything, otherwise the boot structures at 0x90000-0x9CFFF stay as they are.
 */
import type { Gpa, GuestRam } from '../memory/types.js';
import { type InitialCpuState, writeBootGdt, writeIdentityPageTables } from './cpu-state.js';
import { hex, KernelError } from './errors.js';
import {
  BOOT_BLOCK_END,
  BOOT_BLOCK_START,
  BOOT_STRUCTURES,
  CMDLINE_ADDRESS,
  CMDLINE_AREA_SIZE,
  FLAT_LOAD_ADDRESS,
  FOUR_GIB,
} from './layout.js';
import { writableSpans } from './memory-map.js';
import { type BootPlan, encodeCmdline, type FlatOptions, type LoadOptions, writeCmdline } from './plan.js';
import { checkSegments, copySegments, type Segment } from './segments.js';
import { inside } from './source.js';

/** Real-mode code runs with CS base 0. */
const REAL_MODE_LIMIT = 0x10000;
/** Stacks below this would run into the interrupt vector table and the BIOS data area. */
const REAL_MODE_MIN_STACK = 0x800;

/**
 * Loads a flat binary. A command line that is not empty is written for protected32 and long64, and RSI points to it.
 *
 * @throws KernelError `KERNEL_FLAT_OPTIONS`, `KERNEL_BAD_ENTRY`, and those of {@link checkSegments}.
 */
export function loadFlat(ram: GuestRam, options: LoadOptions): BootPlan {
  const { kernel } = options;
  const flat: FlatOptions = options.flat ?? { mode: 'long64' };
  const gpa = flat.address ?? FLAT_LOAD_ADDRESS;
  const entry = flat.entry ?? gpa;
  const segment: Segment = { gpa, size: kernel.size, fileOffset: 0, fileSize: kernel.size };
  checkOptions(options, flat, entry, segment);
  if (flat.mode === 'real16') checkRealMode(ram, options, entry, segment);
  else checkSegments(ram, kernel, [segment]);
  const cmdline = encodeCmdline(options.cmdline, CMDLINE_AREA_SIZE);
  if (flat.mode !== 'real16' && !ram.contains(0, BOOT_BLOCK_END)) {
    throw new KernelError(
      `a flat binary in ${flat.mode} needs at least 640 KiB of guest memory for its boot tables`,
      {
        code: 'KERNEL_OUTSIDE_RAM',
        hint: 'give the guest 1 MiB',
      },
    );
  }

  copySegments(ram, kernel, [segment], true);
  const hasCmdline = flat.mode !== 'real16' && options.cmdline !== '';
  if (hasCmdline) writeCmdline(ram, cmdline);
  return {
    protocol: 'flat',
    state: initialState(ram, flat, gpa, entry, hasCmdline ? CMDLINE_ADDRESS : undefined),
    entry,
    segments: [segment],
    initrd: undefined,
    cmdline: hasCmdline ? { gpa: CMDLINE_ADDRESS, text: options.cmdline } : undefined,
    structures: BOOT_STRUCTURES.filter(
      ({ name }) =>
        (name === 'boot GDT' && flat.mode !== 'real16') ||
        (name === 'identity page tables' && flat.mode === 'long64') ||
        (name === 'command line' && hasCmdline),
    ),
  };
}

function initialState(
  ram: GuestRam,
  flat: FlatOptions,
  gpa: Gpa,
  entry: Gpa,
  cmdline: Gpa | undefined,
): InitialCpuState {
  const rsi = cmdline === undefined ? {} : { rsi: cmdline };
  switch (flat.mode) {
    case 'real16':
      return { mode: 'real16', rip: entry, rsp: flat.stack ?? (gpa >= REAL_MODE_MIN_STACK ? gpa : 0xfff0) };
    case 'protected32':
      return {
        mode: 'protected32',
        rip: entry,
        rsp: flat.stack ?? BOOT_BLOCK_START,
        gdt: writeBootGdt(ram, 'code32'),
        ...rsi,
      };
    case 'long64':
      return {
        mode: 'long64',
        rip: entry,
        rsp: flat.stack ?? BOOT_BLOCK_START,
        gdt: writeBootGdt(ram, 'code64'),
        cr3: writeIdentityPageTables(ram),
        ...rsi,
      };
  }
}

function checkOptions(options: LoadOptions, flat: FlatOptions, entry: Gpa, segment: Segment): void {
  const name = options.kernel.name;
  if (options.initrd !== undefined && options.initrd.length > 0) {
    throw new KernelError(`the flat binary "${name}" cannot take an initrd`, {
      code: 'KERNEL_FLAT_OPTIONS',
      hint: 'leave the initrd out, or append the data to the binary',
    });
  }
  if (!inside(entry - segment.gpa, 1, segment.size)) {
    throw new KernelError(
      `the entry ${hex(entry)} of the flat binary "${name}" is outside of ${hex(segment.gpa)}+${hex(segment.size)}`,
      { code: 'KERNEL_BAD_ENTRY', hint: 'the entry is an address in guest memory, not an offset' },
    );
  }
  if (flat.stack !== undefined && !inside(flat.stack, 0, FOUR_GIB)) {
    throw new KernelError(`the stack pointer of the flat binary "${name}" is not an address below 4 GiB`, {
      code: 'KERNEL_FLAT_OPTIONS',
      hint: 'choose an address in the guest RAM',
    });
  }
}

/** Real mode has no boot tables to protect, and may be far smaller than a PC: only RAM and reach count. */
function checkRealMode(ram: GuestRam, options: LoadOptions, entry: Gpa, segment: Segment): void {
  const name = options.kernel.name;
  if (entry >= REAL_MODE_LIMIT) {
    throw new KernelError(
      `the entry ${hex(entry)} of the flat binary "${name}" is out of reach of real mode`,
      {
        code: 'KERNEL_BAD_ENTRY',
        hint: 'enter below 64 KiB, or use protected32 or long64',
      },
    );
  }
  if (!writableSpans(ram.ranges).some((span) => inside(segment.gpa - span.gpa, segment.size, span.size))) {
    throw new KernelError(
      `the flat binary "${name}" (${hex(segment.gpa)}+${hex(segment.size)}) does not fit into the guest's RAM`,
      { code: 'KERNEL_OUTSIDE_RAM', hint: 'give the guest more memory or load the binary lower' },
    );
  }
}
