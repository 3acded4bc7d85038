/**
 * struct boot_params, the "zero page" (Documentation/arch/x86/zero-page.rst, asm/bootparam.h): what the Linux boot
 * protocol hands to the kernel in RSI.
 *
 * It starts from zeros and takes only the setup header from the kernel file, as boot.rst demands: a page copied whole
 * carries the sentinel, and the kernel then clears what it no longer trusts.
 */
import type { Gpa } from '../memory/types.js';
import { BOOT_FLAG, HDRS_MAGIC, SETUP_HEADER, SETUP_HEADER_START } from './bzimage.js';
import type { InitrdRange } from './initrd.js';
import { FOUR_GIB, LINUX_CMDLINE_MAX, PAGE_SIZE } from './layout.js';
import { encodeE820, MEMORY_MAP_MAX_ENTRIES, type MemoryMapEntry } from './memory-map.js';

/** Fields outside the setup header. */
export const BOOT_PARAMS = {
  acpi_rsdp_addr: 0x070,
  ext_ramdisk_image: 0x0c0,
  ext_ramdisk_size: 0x0c4,
  ext_cmd_line_ptr: 0x0c8,
  e820_entries: 0x1e8,
  sentinel: 0x1ef,
  e820_table: 0x2d0,
} as const;

/** type_of_loader for a loader without an assigned number. */
const LOADER_UNDEFINED = 0xff;
/** vid_mode "normal": leave the video mode alone. */
const VIDEO_NORMAL = 0xffff;
/** The newest protocol whose fields are filled in here; for a bare vmlinux, which has no header of its own. */
const OUR_VERSION = 0x020f;

export interface BootParams {
  /** Setup header bytes from 0x1f1 of a bzImage; undefined for a bare vmlinux. */
  readonly setupHeader: Uint8Array | undefined;
  /** Where the protected-mode code was loaded. */
  readonly loadAddress: Gpa;
  readonly cmdline: Gpa;
  readonly initrd: InitrdRange | undefined;
  readonly acpiRsdp: Gpa;
  readonly memoryMap: readonly MemoryMapEntry[];
}

/** The page's bytes. */
export function encodeBootParams(params: BootParams): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  const view = new DataView(page.buffer);
  if (params.setupHeader !== undefined) page.set(params.setupHeader, SETUP_HEADER_START);
  else inventHeader(view);
  view.setUint8(SETUP_HEADER.type_of_loader, LOADER_UNDEFINED);
  view.setUint16(SETUP_HEADER.vid_mode, VIDEO_NORMAL, true);
  view.setUint32(SETUP_HEADER.code32_start, params.loadAddress % FOUR_GIB, true);
  // Boot data that the file brings along would be an address of the kernel's choosing.
  if (
    params.setupHeader !== undefined &&
    params.setupHeader.length > SETUP_HEADER.setup_data + 8 - SETUP_HEADER_START
  ) {
    view.setBigUint64(SETUP_HEADER.setup_data, 0n, true);
  }
  split(view, SETUP_HEADER.cmd_line_ptr, BOOT_PARAMS.ext_cmd_line_ptr, params.cmdline);
  split(view, SETUP_HEADER.ramdisk_image, BOOT_PARAMS.ext_ramdisk_image, params.initrd?.gpa ?? 0);
  split(view, SETUP_HEADER.ramdisk_size, BOOT_PARAMS.ext_ramdisk_size, params.initrd?.size ?? 0);
  view.setBigUint64(BOOT_PARAMS.acpi_rsdp_addr, BigInt(params.acpiRsdp), true);
  const entries = params.memoryMap.slice(0, MEMORY_MAP_MAX_ENTRIES);
  view.setUint8(BOOT_PARAMS.e820_entries, entries.length);
  page.set(encodeE820(entries), BOOT_PARAMS.e820_table);
  return page;
}

function inventHeader(view: DataView): void {
  view.setUint16(SETUP_HEADER.boot_flag, BOOT_FLAG, true);
  view.setUint32(SETUP_HEADER.header, HDRS_MAGIC, true);
  view.setUint16(SETUP_HEADER.version, OUR_VERSION, true);
  view.setUint8(SETUP_HEADER.loadflags, 1);
  view.setUint32(SETUP_HEADER.cmdline_size, LINUX_CMDLINE_MAX, true);
}

/** A value whose upper 32 bits live in an extension field. */
function split(view: DataView, low: number, high: number, value: number): void {
  view.setUint32(low, value % FOUR_GIB, true);
  view.setUint32(high, Math.floor(value / FOUR_GIB), true);
}
