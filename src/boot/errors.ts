/**
 * What can go wrong between a kernel file and a guest that is ready to run (design.md section 7).
 *
 * One class per operation: reading and placing a kernel, an initrd, a command line, and describing the machine.
 * The message names the file or the range; `code` is stable; `hint` says what to do next.
 */
import { TvmmError } from '../sys/errors.js';

/** A kernel that cannot be read, understood or placed in guest RAM. Codes start with `KERNEL_`. */
export class KernelError extends TvmmError {}

/** An initrd that cannot be read or placed in guest RAM. Codes start with `INITRD_`. */
export class InitrdError extends TvmmError {}

/** A command line that the kernel would cut short or misread. Codes start with `CMDLINE_`. */
export class CommandLineError extends TvmmError {}

/** ACPI tables or a memory map that cannot describe the machine. Codes start with `ACPI_` or `MEMORY_MAP_`. */
export class MachineDescriptionError extends TvmmError {}

/** `0x…`, the way every message of this folder writes addresses and offsets. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** A size for a sentence: whole MiB rounded up, or KiB below one MiB. */
export function mib(bytes: number): string {
  return bytes < 2 ** 20 ? `${Math.ceil(bytes / 2 ** 10)} KiB` : `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
