/**
 * Whether this host's /dev/kvm can run a stock kernel: the question behind `tvmm boot --accel auto`. Two looks only, since every
 * boot pays for them: the processor's flags (proc(5), /proc/cpuinfo) and an open of the device. `tvmm doctor` looks closer.
 *
 * A /dev/kvm on a processor that shows neither `vmx` nor `svm` is a software KVM: it interprets kernel code. Small test guests
 * run on it, stock kernels do not, so it does not count as usable; `--accel kvm` tries it all the same.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs';

/** What /dev/kvm is good for. */
export interface KvmUsability {
  /** A stock Linux kernel can be expected to boot on it. */
  readonly usable: boolean;
  /** Why, or why not: one clause without a period, to be shown. */
  readonly reason: string;
  /** /dev/kvm opens, but no hardware virtualization stands behind it. */
  readonly software: boolean;
}

/** The hardware extension that the processor shows, spelled as its vendor does. */
export type HardwareExtension = 'VT-x' | 'AMD-V' | 'none';

/** The flags of the first processor are enough, and its entry is short. */
const CPUINFO_BYTES = 8192;

/** Reads the `flags` line of /proc/cpuinfo. Text without one counts as `none`. */
export function hardwareExtension(cpuinfo: string): HardwareExtension {
  const line = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? '';
  const flags = new Set(line.trim().split(/\s+/));
  if (flags.has('vmx')) return 'VT-x';
  return flags.has('svm') ? 'AMD-V' : 'none';
}

/**
 * The verdict from the two facts.
 *
 * @param openError errno name of opening /dev/kvm for reading and writing; undefined when it opened
 */
export function judgeKvm(extension: HardwareExtension, openError: string | undefined): KvmUsability {
  switch (openError) {
    case undefined:
      return extension === 'none'
        ? {
            usable: false,
            software: true,
            reason:
              '/dev/kvm is a software KVM (the processor shows neither vmx nor svm) and cannot run a stock kernel',
          }
        : { usable: true, software: false, reason: `/dev/kvm is backed by ${extension}` };
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
      return { usable: false, software: false, reason: 'this host has no /dev/kvm' };
    case 'EACCES':
    case 'EPERM':
      return { usable: false, software: false, reason: 'this user may not open /dev/kvm' };
    default:
      return { usable: false, software: false, reason: `/dev/kvm cannot be opened (${openError})` };
  }
}

/** Looks at this host. Never throws; takes well under a millisecond. */
export function kvmUsability(device = '/dev/kvm'): KvmUsability {
  return judgeKvm(hardwareExtension(readStart('/proc/cpuinfo')), openError(device));
}

/** errno name of opening the device; undefined when it opens. */
function openError(device: string): string | undefined {
  try {
    closeSync(openSync(device, constants.O_RDWR));
    return undefined;
  } catch (error) {
    return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'EIO';
  }
}

/** The start of a file, or nothing: /proc/cpuinfo of a machine with many processors is slow to make. */
function readStart(path: string): string {
  try {
    const fd = openSync(path, constants.O_RDONLY);
    try {
      const bytes = new Uint8Array(CPUINFO_BYTES);
      return Buffer.from(bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0))).toString('latin1');
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}
