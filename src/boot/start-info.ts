/**
 * hvm_start_info version 1 with its module list and memory map: what the PVH entry finds in EBX
 * (xen/include/public/arch-x86/hvm/start_info.h).
 */
import type { Gpa, GuestRam } from '../memory/types.js';
import { MachineDescriptionError } from './errors.js';
import type { InitrdRange } from './initrd.js';
import { MEMMAP_TABLE_ADDRESS, MEMMAP_TABLE_END, MODULE_LIST_ADDRESS, START_INFO_ADDRESS } from './layout.js';
import { encodeHvmMemmap, type MemoryMapEntry } from './memory-map.js';

/** "xEn3" with the 0x80 bit of the "E" set. */
export const START_INFO_MAGIC = 0x336ec578;
const START_INFO_VERSION = 1;
const START_INFO_SIZE = 56;
const MODULE_ENTRY_SIZE = 32;

export interface StartInfo {
  /** GPA of the NUL-terminated command line. */
  readonly cmdline: Gpa;
  readonly initrd: InitrdRange | undefined;
  readonly acpiRsdp: Gpa;
  readonly memoryMap: readonly MemoryMapEntry[];
}

/** Writes all three structures and returns the address for EBX. */
export function writeStartInfo(ram: GuestRam, info: StartInfo): Gpa {
  const memmap = encodeHvmMemmap(info.memoryMap);
  if (memmap.length > MEMMAP_TABLE_END - MEMMAP_TABLE_ADDRESS) {
    throw new MachineDescriptionError(
      `a memory map of ${info.memoryMap.length} entries has no room in start_info`,
      {
        code: 'MEMORY_MAP_TOO_LONG',
        hint: 'reserve fewer, larger ranges',
      },
    );
  }
  const bytes = new Uint8Array(START_INFO_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, START_INFO_MAGIC, true);
  view.setUint32(4, START_INFO_VERSION, true);
  view.setUint32(8, 0, true); // flags: SIF_* concern Xen's own domains
  view.setUint32(12, info.initrd === undefined ? 0 : 1, true); // nr_modules
  view.setBigUint64(16, BigInt(info.initrd === undefined ? 0 : MODULE_LIST_ADDRESS), true); // modlist_paddr
  view.setBigUint64(24, BigInt(info.cmdline), true); // cmdline_paddr
  view.setBigUint64(32, BigInt(info.acpiRsdp), true); // rsdp_paddr
  view.setBigUint64(40, BigInt(MEMMAP_TABLE_ADDRESS), true); // memmap_paddr
  view.setUint32(48, info.memoryMap.length, true); // memmap_entries
  ram.write(START_INFO_ADDRESS, bytes);
  if (info.initrd !== undefined) ram.write(MODULE_LIST_ADDRESS, encodeModule(info.initrd));
  ram.write(MEMMAP_TABLE_ADDRESS, memmap);
  return START_INFO_ADDRESS;
}

/** hvm_modlist_entry: paddr, size, cmdline_paddr, reserved. Linux takes the first module as its initrd. */
function encodeModule(initrd: InitrdRange): Uint8Array {
  const bytes = new Uint8Array(MODULE_ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(initrd.gpa), true);
  view.setBigUint64(8, BigInt(initrd.size), true);
  return bytes;
}
