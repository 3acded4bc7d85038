/**
 * What the rest of the VMM needs from guest memory, apart from how it is mapped.
 *
 * Guest-physical addresses (GPAs) are plain numbers: every address that a machine can decode is far below 2^53. A 64-bit
 * value read from the guest becomes `lo + hi * 2 ** 32`; what that rounds is out of range anyway and is refused.
 */
import { TvmmError } from '../sys/errors.js';

/** A guest-physical address. */
export type Gpa = number;

/** Access that does not fall wholly inside one RAM region. */
export class GuestMemoryError extends TvmmError {
  readonly gpa: Gpa;
  readonly length: number;

  constructor(gpa: Gpa, length: number) {
    super(
      `guest-physical range 0x${gpa.toString(16)}+0x${length.toString(16)} is not inside the guest's RAM`,
      {
        code: 'GUEST_MEMORY_RANGE',
      },
    );
    this.gpa = gpa;
    this.length = length;
  }
}

/** One contiguous range of guest RAM. */
export interface RamRange {
  readonly gpa: Gpa;
  /** Bytes. */
  readonly size: number;
  readonly readOnly: boolean;
}

/** Guest RAM as its users see it. Every access is bounds-checked and throws {@link GuestMemoryError}. */
export interface GuestRam {
  /** Ascending, non-overlapping. */
  readonly ranges: readonly RamRange[];
  readU8(gpa: Gpa): number;
  readU16(gpa: Gpa): number;
  readU32(gpa: Gpa): number;
  /** A 64-bit little-endian value as a number; values above 2^53 lose their low bits (see the header). */
  readU64(gpa: Gpa): number;
  writeU8(gpa: Gpa, value: number): void;
  writeU16(gpa: Gpa, value: number): void;
  writeU32(gpa: Gpa, value: number): void;
  writeU64(gpa: Gpa, value: number): void;
  /** A live view of guest bytes (no copy): writes through it are seen by the guest. */
  bytes(gpa: Gpa, length: number): Uint8Array;
  /** Copies `data` into guest RAM. */
  write(gpa: Gpa, data: Uint8Array): void;
  /** The host virtual address of a range, for system calls (preadv, io_uring). */
  hostAddress(gpa: Gpa, length: number): number;
  /** Whether {@link hostAddress} works: false only for stand-ins of tests. */
  readonly isMapped: boolean;
  /** Whether the whole range is RAM. Never throws. */
  contains(gpa: Gpa, length: number): boolean;
}
