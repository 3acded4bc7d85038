/**
 * From a kernel file to a guest that is ready for its first instruction: recognises the file, chooses the protocol and
 * leaves the work to pvh.ts, linux.ts and flat.ts. It runs no code and calls no ioctl.
 */
import type { GuestRam } from '../memory/types.js';
import { type BzImage, isBzImage, parseBzImage } from './bzimage.js';
import { type ElfImage, isElf, parseElf } from './elf.js';
import { hex, KernelError } from './errors.js';
import { loadFlat } from './flat.js';
import { describeNonKernel } from './identify.js';
import { BOOT_BLOCK_END } from './layout.js';
import { loadLinux } from './linux.js';
import type { BootPlan, LoadOptions } from './plan.js';
import { loadPvh } from './pvh.js';
import { type ByteSource, inside } from './source.js';

/**
 * Recognises and parses a kernel file without loading it.
 *
 * @throws KernelError `KERNEL_NOT_A_KERNEL` (names what the file looks like instead), `KERNEL_BAD_ELF`,
 * `KERNEL_BAD_BZIMAGE`, `KERNEL_OLD_PROTOCOL`, `KERNEL_TRUNCATED`.
 */
export function parseKernel(source: ByteSource): ElfImage | BzImage {
  if (isBzImage(source)) return parseBzImage(source);
  if (isElf(source) && source.size >= 64) return parseElf(source);
  throw describeNonKernel(source);
}

/**
 * Loads a kernel with its initrd and command line into guest RAM, with everything that the boot protocol hands over,
 * and says how the first vCPU must start.
 *
 * Protocol `auto`: an ELF kernel with a PVH note starts by PVH; other ELF kernels and bzImages by the Linux boot
 * protocol. Nothing is written when an error is thrown, except for read errors in the middle of a file.
 *
 * @throws KernelError, InitrdError, CommandLineError: the file, its placement, or an input that does not fit.
 */
export function loadKernel(ram: GuestRam, options: LoadOptions): BootPlan {
  const protocol = options.protocol ?? 'auto';
  if (protocol === 'flat') return loadFlat(ram, options);
  const image = parseKernel(options.kernel);
  if (!ram.contains(0, BOOT_BLOCK_END)) {
    throw new KernelError(
      `the kernel "${options.kernel.name}" does not fit: the guest has less than 1 MiB of RAM`,
      {
        code: 'KERNEL_OUTSIDE_RAM',
        hint: 'give the guest at least 64 MiB of memory',
      },
    );
  }
  const pvhEntry = image.kind === 'elf' ? image.pvhEntry : undefined;
  if (image.kind === 'elf' && pvhEntry !== undefined && (protocol === 'auto' || protocol === 'pvh')) {
    checkEntry(options.kernel, image, pvhEntry);
    return loadPvh(ram, image, pvhEntry, options);
  }
  if (protocol === 'pvh') throw noSuchEntry(options.kernel, image, 'PVH entry (no Xen note of type 18)');
  if (protocol === 'linux64' && image.bits !== 64) throw noSuchEntry(options.kernel, image, '64-bit entry');
  if (protocol === 'linux32' && image.bits !== 32) throw noSuchEntry(options.kernel, image, '32-bit entry');
  checkEntry(options.kernel, image, image.entry);
  return loadLinux(ram, image, options);
}

function noSuchEntry(kernel: ByteSource, image: ElfImage | BzImage, what: string): KernelError {
  const kind = image.kind === 'elf' ? `ELF${image.bits}` : `${image.bits}-bit bzImage`;
  return new KernelError(`the kernel "${kernel.name}" (${kind}) has no ${what}`, {
    code: 'KERNEL_NO_ENTRY',
    hint: 'let tvmm choose the boot protocol, or use the uncompressed vmlinux of a kernel with CONFIG_PVH',
  });
}

/** The first instruction must come from the file, not from bss or from whatever lies beside the kernel. */
function checkEntry(kernel: ByteSource, image: ElfImage | BzImage, entry: number): void {
  const segments = image.kind === 'elf' ? image.segments : [image.segment];
  if (segments.some((segment) => inside(entry - segment.gpa, 1, segment.fileSize))) return;
  throw new KernelError(
    `the kernel "${kernel.name}" has its entry at ${hex(entry)}, where nothing is loaded`,
    {
      code: 'KERNEL_BAD_ENTRY',
      hint: 'the file is damaged or linked wrongly',
    },
  );
}
