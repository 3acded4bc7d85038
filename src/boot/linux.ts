/**
 * Boot by the Linux/x86 boot protocol (Documentation/arch/x86/boot.rst): a bzImage, or a bare vmlinux by its own
 * 64-bit entry; boot_params in RSI, flat segments, identity-mapped pages in long mode.
 */
import type { GuestRam } from '../memory/types.js';
import { encodeBootParams } from './boot-params.js';
import type { BzImage } from './bzimage.js';
import { type InitialCpuState, writeBootGdt, writeIdentityPageTables } from './cpu-state.js';
import type { ElfImage } from './elf.js';
import { copyInitrd, placeInitrd } from './initrd.js';
import {
  BOOT_PARAMS_ADDRESS,
  BOOT_STRUCTURES,
  CMDLINE_ADDRESS,
  FOUR_GIB,
  LINUX_CMDLINE_MAX,
} from './layout.js';
import { type BootPlan, encodeCmdline, type LoadOptions, writeCmdline } from './plan.js';
import { checkSegments, copySegments } from './segments.js';

/** Loads a parsed kernel and everything that boot_params names. Guest memory is untouched when it throws. */
export function loadLinux(ram: GuestRam, image: BzImage | ElfImage, options: LoadOptions): BootPlan {
  const archives = options.initrd ?? [];
  const bz = image.kind === 'bzimage' ? image : undefined;
  const segments = image.kind === 'bzimage' ? [image.segment] : image.segments;
  checkSegments(ram, options.kernel, segments);
  const cmdline = encodeCmdline(options.cmdline, bz?.cmdlineMax ?? LINUX_CMDLINE_MAX);
  const initrd = placeInitrd(ram, archives, bz?.initrdLimit ?? FOUR_GIB, segments);

  // The room behind a bzImage is for decompression only: the kernel expects nothing in it.
  copySegments(ram, options.kernel, segments, bz !== undefined || (options.ramIsZero ?? false));
  if (initrd !== undefined) copyInitrd(ram, archives, initrd);
  writeCmdline(ram, cmdline);
  ram.write(
    BOOT_PARAMS_ADDRESS,
    encodeBootParams({
      setupHeader: bz?.setupHeader,
      loadAddress: bz?.segment.gpa ?? image.entry,
      cmdline: CMDLINE_ADDRESS,
      initrd,
      acpiRsdp: options.acpiRsdp,
      memoryMap: options.memoryMap,
    }),
  );
  const structures = ['boot GDT', 'boot_params', 'command line'];
  if (image.bits === 64) structures.push('identity page tables');
  return {
    protocol: image.bits === 64 ? 'linux64' : 'linux32',
    state: image.bits === 64 ? longMode(ram, image.entry) : protectedMode(ram, image.entry),
    entry: image.entry,
    segments,
    initrd,
    cmdline: { gpa: CMDLINE_ADDRESS, text: options.cmdline },
    structures: BOOT_STRUCTURES.filter(({ name }) => structures.includes(name)),
  };
}

function longMode(ram: GuestRam, rip: number): InitialCpuState {
  const gdt = writeBootGdt(ram, 'code64');
  return { mode: 'long64', rip, rsi: BOOT_PARAMS_ADDRESS, cr3: writeIdentityPageTables(ram), gdt };
}

function protectedMode(ram: GuestRam, rip: number): InitialCpuState {
  return { mode: 'protected32', rip, rsi: BOOT_PARAMS_ADDRESS, gdt: writeBootGdt(ram, 'code32') };
}
