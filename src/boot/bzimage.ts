/**
 * The setup header of a bzImage (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
 *
 * The real-mode part is not loaded: the kernel is entered in 32 or 64 bit mode, and of the setup code only its header
 * goes on, into boot_params. zImage, and protocols before 2.06 (2007), are refused.
 */
import type { Gpa } from '../memory/types.js';
import { u64 } from './elf.js';
import { hex, KernelError } from './errors.js';
import { FOUR_GIB, HIGH_MEMORY_START } from './layout.js';
import type { Segment } from './segments.js';
import type { ByteSource } from './source.js';

/** Offsets in the file, and equally in boot_params. The newest header ends at 0x26c. */
export const SETUP_HEADER = {
  setup_sects: 0x1f1,
  syssize: 0x1f4,
  vid_mode: 0x1fa,
  boot_flag: 0x1fe,
  jump: 0x200,
  header: 0x202,
  version: 0x206,
  type_of_loader: 0x210,
  loadflags: 0x211,
  code32_start: 0x214,
  ramdisk_image: 0x218,
  ramdisk_size: 0x21c,
  cmd_line_ptr: 0x228,
  initrd_addr_max: 0x22c,
  kernel_alignment: 0x230,
  relocatable_kernel: 0x234,
  xloadflags: 0x236,
  cmdline_size: 0x238,
  setup_data: 0x250,
  pref_address: 0x258,
  init_size: 0x260,
} as const;

/** "HdrS" and the boot sector's signature. */
export const HDRS_MAGIC = 0x53726448;
export const BOOT_FLAG = 0xaa55;
/** boot_params gives the header the bytes from 0x1f1 up to the next field at 0x290. */
export const SETUP_HEADER_START = 0x1f1;
export const SETUP_HEADER_END = 0x290;

const LOADED_HIGH = 1 << 0;
const XLF_KERNEL_64 = 1 << 0;
const SECTOR = 512;
/** The 64-bit entry point, behind the start of the loaded image (boot.rst, "64-bit Boot Protocol"). */
const ENTRY_64_OFFSET = 0x200;
/** Up to here every version since 2.06 has its fields. */
const HEADER_BYTES_2_06 = 0x23c;
/** What older headers mean by initrd_addr_max when they say nothing. */
const DEFAULT_INITRD_MAX = 0x37ffffff;

/** A bzImage, as far as a loader is concerned. */
export interface BzImage {
  readonly kind: 'bzimage';
  readonly bits: 32 | 64;
  /** Boot protocol version, e.g. 0x020f. */
  readonly version: number;
  /** Where the protected-mode part goes and the room it needs there (init_size). */
  readonly segment: Segment;
  readonly entry: Gpa;
  /** One past the highest address that the initrd may occupy. */
  readonly initrdLimit: Gpa;
  /** Bytes without the NUL. */
  readonly cmdlineMax: number;
  /** The header's bytes from 0x1f1, for boot_params. */
  readonly setupHeader: Uint8Array;
}

/** Whether the source carries the boot sector signature and "HdrS". */
export function isBzImage(source: ByteSource): boolean {
  if (source.size < HEADER_BYTES_2_06) return false;
  const view = headerView(source, 0x20c);
  return (
    view.getUint16(SETUP_HEADER.boot_flag, true) === BOOT_FLAG &&
    view.getUint32(SETUP_HEADER.header, true) === HDRS_MAGIC
  );
}

function headerView(source: ByteSource, length: number): DataView {
  const bytes = source.read(0, length);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Parses a bzImage's header.
 *
 * @throws KernelError `KERNEL_OLD_PROTOCOL`, `KERNEL_BAD_BZIMAGE`, `KERNEL_TRUNCATED`.
 */
export function parseBzImage(source: ByteSource): BzImage {
  const name = `the kernel "${source.name}"`;
  const length = Math.min(source.size, SETUP_HEADER_END);
  const view = headerView(source, length);
  const version = view.getUint16(SETUP_HEADER.version, true);
  const protocol = `${version >> 8}.${String(version & 0xff).padStart(2, '0')}`;
  if (version < 0x0206 || (view.getUint8(SETUP_HEADER.loadflags) & LOADED_HIGH) === 0) {
    throw new KernelError(`${name} is a zImage or speaks boot protocol ${protocol}, older than 2.06`, {
      code: 'KERNEL_OLD_PROTOCOL',
      hint: 'use a kernel newer than 2.6.22',
    });
  }
  // The header ends where the jump at its start leads to.
  const headerEnd = SETUP_HEADER.header + view.getUint8(SETUP_HEADER.jump + 1);
  const field = (offset: number, size: number) => offset + size <= Math.min(headerEnd, length);
  if (!field(SETUP_HEADER.cmdline_size, 4)) {
    throw badImage(`${name} says boot protocol ${protocol}, but its header ends at ${hex(headerEnd)}`);
  }
  const has = (since: number, offset: number, size: number): boolean => {
    if (version < since) return false;
    if (field(offset, size)) return true;
    throw badImage(`${name} says boot protocol ${protocol}, but its header ends at ${hex(headerEnd)}`);
  };

  const setupSize = ((view.getUint8(SETUP_HEADER.setup_sects) || 4) + 1) * SECTOR;
  const payload = view.getUint32(SETUP_HEADER.syssize, true) * 16;
  if (payload === 0) throw badImage(`${name} says that its protected-mode part is empty`);
  if (setupSize + payload > source.size) {
    throw new KernelError(
      `${name} is truncated: its header asks for ${setupSize + payload} bytes and the file has ${source.size}`,
      {
        code: 'KERNEL_TRUNCATED',
        hint: 'copy or build the file again; it is shorter than its own headers say',
      },
    );
  }
  const hasPlacement = has(0x020a, SETUP_HEADER.init_size, 4);
  const load = hasPlacement ? u64(view, SETUP_HEADER.pref_address) : HIGH_MEMORY_START;
  const initSize = hasPlacement ? view.getUint32(SETUP_HEADER.init_size, true) : payload * 3;
  checkLoadAddress(name, view, load);
  const bits = has(0x020c, SETUP_HEADER.xloadflags, 2) && is64Bit(view) ? 64 : 32;
  const initrdMax = view.getUint32(SETUP_HEADER.initrd_addr_max, true) || DEFAULT_INITRD_MAX;
  return {
    kind: 'bzimage',
    bits,
    version,
    segment: { gpa: load, size: Math.max(payload, initSize), fileOffset: setupSize, fileSize: payload },
    entry: bits === 64 ? load + ENTRY_64_OFFSET : load,
    initrdLimit: initrdMax + 1,
    cmdlineMax: view.getUint32(SETUP_HEADER.cmdline_size, true),
    setupHeader: source.read(SETUP_HEADER_START, Math.min(headerEnd, length) - SETUP_HEADER_START),
  };
}

function is64Bit(view: DataView): boolean {
  return (view.getUint16(SETUP_HEADER.xloadflags, true) & XLF_KERNEL_64) !== 0;
}

/** pref_address is always taken: it is where the kernel runs even when a loader puts it elsewhere. */
function checkLoadAddress(name: string, view: DataView, load: Gpa): void {
  const alignment = view.getUint32(SETUP_HEADER.kernel_alignment, true);
  const relocatable = view.getUint8(SETUP_HEADER.relocatable_kernel) !== 0;
  if (load < HIGH_MEMORY_START || load >= FOUR_GIB) {
    throw badImage(`${name} wants to be loaded at ${hex(load)}, outside 1 MiB to 4 GiB`);
  }
  if (relocatable && alignment !== 0 && load % alignment !== 0) {
    throw badImage(
      `${name} wants to be loaded at ${hex(load)}, which is not aligned to its own ${hex(alignment)}`,
    );
  }
}

function badImage(message: string): KernelError {
  return new KernelError(message, {
    code: 'KERNEL_BAD_BZIMAGE',
    hint: 'the file is damaged; copy or build it again',
  });
}
