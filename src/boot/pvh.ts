/**
 * Boot by the PVH entry (xen docs/misc/pvh.pandoc; Xen note 18): an uncompressed kernel entered in 32-bit protected
 * mode without paging, hvm_start_info in EBX. The fastest way into a stock vmlinux: no decompression, no setup code.
 */
import type { GuestRam } from '../memory/types.js';
import { writeBootGdt } from './cpu-state.js';
import type { ElfImage } from './elf.js';
import { hex, KernelError } from './errors.js';
import { copyInitrd, placeInitrd } from './initrd.js';
import { BOOT_STRUCTURES, CMDLINE_ADDRESS, FOUR_GIB, LINUX_CMDLINE_MAX } from './layout.js';
import { type BootPlan, encodeCmdline, type LoadOptions, writeCmdline } from './plan.js';
import { checkSegments, copySegments } from './segments.js';
import { writeStartInfo } from './start-info.js';

const WRITTEN = ['boot GDT', 'hvm_start_info', 'command line'];

/** Loads a parsed ELF kernel that has a PVH entry. Guest memory is untouched when it throws. */
export function loadPvh(ram: GuestRam, image: ElfImage, entry: number, options: LoadOptions): BootPlan {
  const archives = options.initrd ?? [];
  checkSegments(ram, options.kernel, image.segments);
  if (entry >= FOUR_GIB) {
    throw new KernelError(
      `the kernel "${options.kernel.name}" has its PVH entry at ${hex(entry)}, above 4 GiB`,
      {
        code: 'KERNEL_BAD_ENTRY',
        hint: 'the note must hold a 32-bit physical address; the file is damaged',
      },
    );
  }
  const cmdline = encodeCmdline(options.cmdline, LINUX_CMDLINE_MAX);
  const initrd = placeInitrd(ram, archives, FOUR_GIB, image.segments);

  copySegments(ram, options.kernel, image.segments, options.ramIsZero ?? false);
  if (initrd !== undefined) copyInitrd(ram, archives, initrd);
  const startInfo = writeStartInfo(ram, {
    cmdline: writeCmdline(ram, cmdline),
    initrd,
    acpiRsdp: options.acpiRsdp,
    memoryMap: options.memoryMap,
  });
  return {
    protocol: 'pvh',
    state: { mode: 'protected32', rip: entry, rbx: startInfo, gdt: writeBootGdt(ram, 'code32') },
    entry,
    segments: image.segments,
    initrd,
    cmdline: { gpa: CMDLINE_ADDRESS, text: options.cmdline },
    structures: BOOT_STRUCTURES.filter(({ name }) => WRITTEN.includes(name)),
  };
}
