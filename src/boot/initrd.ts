/**
 * The initrd: where it goes, and the archives that it is made of.
 *
 * Linux unpacks a sequence of cpio archives, each compressed or not, if every one starts on a 4-byte boundary with
 * zeros before it (Documentation/driver-api/early-userspace/buffer-format.rst).
 */
import type { Gpa, GuestRam } from '../memory/types.js';
import { hex, InitrdError, mib } from './errors.js';
import { alignDown, alignUp, FOUR_GIB, HIGH_MEMORY_START, overlaps, PAGE_SIZE } from './layout.js';
import { writableSpans } from './memory-map.js';
import { readIntoRam } from './segments.js';
import type { ByteSource } from './source.js';

export interface InitrdRange {
  readonly gpa: Gpa;
  /** Bytes, with the padding between the archives. */
  readonly size: number;
}

/**
 * Finds the place: page aligned, as high as possible below `limit` and the end of low RAM, clear of `occupied`.
 *
 * @returns undefined when there is nothing to load.
 * @throws InitrdError `INITRD_TOO_LARGE`, which says how much memory the guest would need.
 */
export function placeInitrd(
  ram: GuestRam,
  archives: readonly ByteSource[],
  limit: Gpa,
  occupied: readonly { gpa: Gpa; size: number }[],
): InitrdRange | undefined {
  const size = archives.reduce((sum, archive) => sum + alignUp(archive.size, 4), 0);
  if (size === 0) return undefined;
  const low = writableSpans(ram.ranges).find(
    (span) => span.gpa <= HIGH_MEMORY_START && span.gpa + span.size > HIGH_MEMORY_START,
  );
  const ramEnd = low === undefined ? 0 : Math.min(low.gpa + low.size, FOUR_GIB);
  let top = alignDown(Math.min(ramEnd, limit), PAGE_SIZE);
  // Each round goes below one more occupied range, so there are at most as many rounds as ranges.
  for (;;) {
    const gpa = alignDown(top - size, PAGE_SIZE);
    if (gpa < HIGH_MEMORY_START) throw tooLarge(archives, size, limit, ramEnd, occupied);
    const blocker = occupied.find((range) => overlaps(range, { gpa, size }));
    if (blocker === undefined) return { gpa, size };
    top = alignDown(blocker.gpa, PAGE_SIZE);
  }
}

/** Copies the archives to their place, each padded with zeros to 4 bytes. */
export function copyInitrd(ram: GuestRam, archives: readonly ByteSource[], place: InitrdRange): void {
  let gpa = place.gpa;
  for (const archive of archives) {
    readIntoRam(ram, archive, 0, gpa, archive.size);
    const padded = alignUp(archive.size, 4);
    if (padded > archive.size) ram.bytes(gpa + archive.size, padded - archive.size).fill(0);
    gpa += padded;
  }
}

function tooLarge(
  archives: readonly ByteSource[],
  size: number,
  limit: Gpa,
  ramEnd: Gpa,
  occupied: readonly { gpa: Gpa; size: number }[],
): InitrdError {
  const names = archives.map((archive) => `"${archive.name}"`).join(' + ');
  const kernelEnd = occupied.reduce((end, range) => Math.max(end, range.gpa + range.size), HIGH_MEMORY_START);
  const needed = alignUp(kernelEnd, PAGE_SIZE) + alignUp(size, PAGE_SIZE);
  const possible = needed <= Math.min(limit, FOUR_GIB * 0.75);
  return new InitrdError(
    `the initrd ${names} needs ${mib(size)} and does not fit beside the kernel in ${mib(ramEnd)} of low RAM`,
    {
      code: 'INITRD_TOO_LARGE',
      hint: possible
        ? `give the guest at least ${mib(needed)} of memory, and as much again for unpacking`
        : `this kernel takes an initrd only below ${hex(Math.min(limit, FOUR_GIB))}: make it smaller, or use a root disk`,
    },
  );
}
