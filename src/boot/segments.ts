/**
 * Placing the pieces of a kernel in guest RAM: every piece is checked against the file, the RAM, the boot structures
 * and the other pieces before the first byte is copied, so that a refused kernel leaves guest memory as it was.
 */
import type { Gpa, GuestRam } from '../memory/types.js';
import { hex, KernelError, mib } from './errors.js';
import { ACPI_AREA_END, alignDown, BOOT_STRUCTURES, EBDA_START, FOUR_GIB, overlaps } from './layout.js';
import { writableSpans } from './memory-map.js';
import { type ByteSource, inside } from './source.js';

/** `fileSize` bytes at `fileOffset` go to `gpa`; the rest up to `size` is zero (bss, decompression room). */
export interface Segment {
  readonly gpa: Gpa;
  /** Bytes in guest memory. */
  readonly size: number;
  readonly fileOffset: number;
  readonly fileSize: number;
}

/** More loadable pieces than any kernel has; a file that claims more is lying. */
export const MAX_SEGMENTS = 128;

/** Copies and clears go piece by piece, each inside one aligned window, so that no view spans two mappings. */
const COPY_WINDOW = 8 * 2 ** 20;

/** What no segment may touch: boot structures, and the firmware area that holds ACPI and is no RAM to the guest. */
const FORBIDDEN = [
  ...BOOT_STRUCTURES,
  { name: 'BIOS area with the ACPI tables', gpa: EBDA_START, size: ACPI_AREA_END - EBDA_START },
];

/**
 * Checks a kernel's segments.
 *
 * @throws KernelError `KERNEL_NO_SEGMENTS`, `KERNEL_TOO_MANY_SEGMENTS`, `KERNEL_TRUNCATED`, `KERNEL_BAD_SEGMENT`,
 * `KERNEL_OUTSIDE_RAM`.
 */
export function checkSegments(ram: GuestRam, source: ByteSource, segments: readonly Segment[]): void {
  const kernel = `the kernel "${source.name}"`;
  if (segments.length === 0) {
    throw new KernelError(`${kernel} has nothing to load`, {
      code: 'KERNEL_NO_SEGMENTS',
      hint: 'it may be a file of debug information; use the vmlinux or bzImage itself',
    });
  }
  if (segments.length > MAX_SEGMENTS) {
    throw new KernelError(
      `${kernel} claims ${segments.length} loadable segments, more than ${MAX_SEGMENTS}`,
      {
        code: 'KERNEL_TOO_MANY_SEGMENTS',
        hint: 'the file is damaged or no kernel',
      },
    );
  }
  const spans = writableSpans(ram.ranges);
  for (const segment of segments) checkSegment(kernel, source, spans, segment);
  const sorted = [...segments].sort((a, b) => a.gpa - b.gpa);
  sorted.reduce((low, high) => {
    if (!overlaps(low, high)) return high;
    throw badSegment(`${kernel} has overlapping segments: ${range(low)} and ${range(high)}`);
  });
}

function checkSegment(
  kernel: string,
  source: ByteSource,
  spans: readonly { gpa: Gpa; size: number }[],
  segment: Segment,
): void {
  if (!inside(segment.fileOffset, segment.fileSize, source.size)) {
    throw new KernelError(
      `${kernel} is truncated: a segment of ${hex(segment.fileSize)} bytes at offset ${hex(segment.fileOffset)} ` +
        `lies beyond its end at ${hex(source.size)}`,
      {
        code: 'KERNEL_TRUNCATED',
        hint: 'copy or build the file again; it is shorter than its own headers say',
      },
    );
  }
  if (segment.fileSize > segment.size) {
    throw badSegment(
      `${kernel} has a segment with more bytes in the file (${hex(segment.fileSize)}) than in memory (${hex(segment.size)})`,
    );
  }
  if (!spans.some((span) => inside(segment.gpa - span.gpa, segment.size, span.size))) {
    throw outsideRam(kernel, spans, segment);
  }
  const hit = FORBIDDEN.find((structure) => overlaps(structure, segment));
  if (hit !== undefined) {
    throw badSegment(
      `${kernel} has a segment at ${range(segment)} on top of the ${hit.name} at ${range(hit)}`,
    );
  }
}

function badSegment(message: string): KernelError {
  return new KernelError(message, {
    code: 'KERNEL_BAD_SEGMENT',
    hint: 'link the kernel to load at or above 1 MiB (0x100000) with separate segments',
  });
}

function outsideRam(
  kernel: string,
  spans: readonly { gpa: Gpa; size: number }[],
  segment: Segment,
): KernelError {
  const end = segment.gpa + segment.size;
  const low = spans.find((span) => span.gpa === 0)?.size ?? 0;
  // RAM starts at 0 and grows upwards: more of it helps as long as the segment fits below the device windows.
  const helps = segment.gpa >= 0 && end > low && end <= FOUR_GIB * 0.75;
  return new KernelError(
    `${kernel} does not fit: a segment needs guest memory ${range(segment)}, and the guest has ${mib(low)} of low RAM`,
    {
      code: 'KERNEL_OUTSIDE_RAM',
      hint: helps
        ? `give the guest at least ${mib(end)} of memory, and more for its own work`
        : 'the address lies where no RAM can be; the file is damaged or linked for another machine',
    },
  );
}

function range(segment: { gpa: Gpa; size: number }): string {
  return `${hex(segment.gpa)}-${hex(segment.gpa + segment.size)}`;
}

/**
 * Copies checked segments into guest RAM, straight from the source.
 *
 * @param ramIsZero fresh RAM: skip clearing bss, which would only make the host allocate those pages.
 */
export function copySegments(
  ram: GuestRam,
  source: ByteSource,
  segments: readonly Segment[],
  ramIsZero: boolean,
): void {
  for (const { gpa, size, fileOffset, fileSize } of segments) {
    readIntoRam(ram, source, fileOffset, gpa, fileSize);
    if (!ramIsZero) clearRam(ram, gpa + fileSize, size - fileSize);
  }
}

/** Reads `length` bytes of the source at `offset` into guest RAM at `gpa`. */
export function readIntoRam(
  ram: GuestRam,
  source: ByteSource,
  offset: number,
  gpa: Gpa,
  length: number,
): void {
  // By address where both sides can: views of this size would make V8 collect garbage (see GuestMemory).
  if (ram.isMapped && source.readToAddress !== undefined) {
    source.readToAddress(ram.hostAddress(gpa, length), length, offset);
    return;
  }
  forEachWindow(gpa, length, (at, size) => source.readInto(ram.bytes(at, size), offset + (at - gpa)));
}

function clearRam(ram: GuestRam, gpa: Gpa, length: number): void {
  forEachWindow(gpa, length, (at, size) => ram.bytes(at, size).fill(0));
}

function forEachWindow(gpa: Gpa, length: number, visit: (gpa: Gpa, length: number) => void): void {
  const end = gpa + length;
  for (let at = gpa; at < end; ) {
    const next = Math.min(end, alignDown(at, COPY_WINDOW) + COPY_WINDOW);
    visit(at, next - at);
    at = next;
  }
}
