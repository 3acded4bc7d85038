/**
 * What booting is asked for and what it answers: the shapes that the protocols share, and their common last step, the
 * command line in guest memory.
 */
import type { Gpa, GuestRam } from '../memory/types.js';
import type { InitialCpuState } from './cpu-state.js';
import { CommandLineError } from './errors.js';
import type { InitrdRange } from './initrd.js';
import { CMDLINE_ADDRESS, CMDLINE_AREA_SIZE, type NamedRange } from './layout.js';
import type { MemoryMapEntry } from './memory-map.js';
import type { Segment } from './segments.js';
import type { ByteSource } from './source.js';

/**
 * - `pvh`: 32-bit entry by the Xen note, hvm_start_info in EBX.
 * - `linux64`: 64-bit entry of the Linux boot protocol, boot_params in RSI.
 * - `linux32`: its 32-bit entry, for 32-bit kernels.
 * - `flat`: raw code at an address.
 */
export type BootProtocol = 'pvh' | 'linux64' | 'linux32' | 'flat';

/** How a raw binary is placed and entered. Addresses are guest-physical. */
export interface FlatOptions {
  readonly mode: InitialCpuState['mode'];
  /** Default {@link FLAT_LOAD_ADDRESS}, 0x1000. */
  readonly address?: Gpa;
  /** Default: the load address. */
  readonly entry?: Gpa;
  /** Initial stack pointer; default below the load address in real mode, else 0x90000. */
  readonly stack?: Gpa;
}

export interface LoadOptions {
  readonly kernel: ByteSource;
  /** cpio archives, concatenated in this order. */
  readonly initrd?: readonly ByteSource[];
  readonly cmdline: string;
  /** Default `auto`: PVH where the kernel offers it, else the Linux boot protocol. Never `flat`. */
  readonly protocol?: 'auto' | BootProtocol;
  /** Only for protocol `flat`. */
  readonly flat?: FlatOptions;
  /** Address of the RSDP, or 0 for a machine without ACPI. */
  readonly acpiRsdp: Gpa;
  readonly memoryMap: readonly MemoryMapEntry[];
  /** RAM that nobody has written yet: bss need not be cleared again. Default false. */
  readonly ramIsZero?: boolean;
}

/** A guest that is ready to run, described for the vCPU and for the trace. */
export interface BootPlan {
  readonly protocol: BootProtocol;
  readonly state: InitialCpuState;
  readonly entry: Gpa;
  readonly segments: readonly Segment[];
  readonly initrd: InitrdRange | undefined;
  readonly cmdline: { readonly gpa: Gpa; readonly text: string } | undefined;
  /** What booting itself wrote below 1 MiB. */
  readonly structures: readonly NamedRange[];
}

/** The command line's bytes with their NUL, checked against what the kernel keeps (`max` bytes without the NUL). */
export function encodeCmdline(text: string, max: number): Uint8Array {
  const bytes = new TextEncoder().encode(`${text}\0`);
  const length = bytes.length - 1;
  const limit = Math.min(max, CMDLINE_AREA_SIZE - 1);
  if (length > limit) {
    throw new CommandLineError(
      `the kernel command line has ${length} bytes, and this kernel takes at most ${limit}`,
      {
        code: 'CMDLINE_TOO_LONG',
        hint: 'shorten it; settings for programs can go into a file of the initrd or rootfs',
      },
    );
  }
  if (bytes.indexOf(0) !== length) {
    throw new CommandLineError(
      'the kernel command line has a NUL in it, where the kernel would stop reading',
      {
        code: 'CMDLINE_BAD_CHARACTER',
        hint: 'remove it',
      },
    );
  }
  return bytes;
}

/** Writes an encoded command line to its place. */
export function writeCmdline(ram: GuestRam, bytes: Uint8Array): Gpa {
  ram.write(CMDLINE_ADDRESS, bytes);
  return CMDLINE_ADDRESS;
}
