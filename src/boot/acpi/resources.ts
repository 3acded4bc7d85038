/**
 * Resource descriptors for _CRS (ACPI 6.5, 6.4): which ports, memory and interrupts a device decodes.
 */
import type { Gpa } from '../../memory/types.js';
import { type Aml, buffer, little } from './aml.js';

/** Descriptor tags: small items carry their length in the tag, large ones behind it. */
const TAG = {
  ioPort: 0x47,
  end: 0x79,
  memory32Fixed: 0x86,
  dwordAddressSpace: 0x87,
  wordAddressSpace: 0x88,
  extendedInterrupt: 0x89,
  qwordAddressSpace: 0x8a,
} as const;

/** Address space resource types (6.4.3.5). */
const SPACE = { memory: 0, io: 1, busNumber: 2 } as const;
/** General flags: _MIF and _MAF, the range is fixed at both ends; positive decode. */
const FIXED_RANGE = 0x0c;
/** Memory flags: read-write, not cacheable. */
const MEMORY_READ_WRITE = 0x01;
/** I/O flags: the entire range is decoded. */
const IO_ENTIRE_RANGE = 0x03;

/** `ResourceTemplate () { … }`: the descriptors and an end tag whose checksum byte 0 means "not computed". */
export function resourceTemplate(...descriptors: readonly Aml[]): Aml {
  return buffer([...descriptors.flat(), TAG.end, 0]);
}

/** `IO (Decode16, port, port, 1, length)`: a fixed range of I/O ports. */
export function ioPort(port: number, length: number): Aml {
  return [TAG.ioPort, 1, ...little(port, 2), ...little(port, 2), 1, ...little(length, 1)];
}

/** `Memory32Fixed (ReadWrite, base, size)`. */
export function memory32Fixed(base: Gpa, size: number): Aml {
  return [TAG.memory32Fixed, ...little(9, 2), MEMORY_READ_WRITE, ...little(base, 4), ...little(size, 4)];
}

/** How a line asserts. PCI INTx is level/low/shared; ISA devices and virtio-mmio are edge/high/exclusive. */
export interface InterruptKind {
  readonly trigger: 'edge' | 'level';
  readonly polarity: 'high' | 'low';
  readonly shared?: boolean;
}

/** `Interrupt (ResourceConsumer, …) { gsi }`. */
export function interrupt(gsi: number, { trigger, polarity, shared = false }: InterruptKind): Aml {
  const flags = 1 | (trigger === 'edge' ? 2 : 0) | (polarity === 'low' ? 4 : 0) | (shared ? 8 : 0);
  return [TAG.extendedInterrupt, ...little(6, 2), flags, 1, ...little(gsi, 4)];
}

/** `WordBusNumber (ResourceProducer, …)`: the buses behind a host bridge. */
export function wordBusNumber(first: number, last: number): Aml {
  return addressSpace(TAG.wordAddressSpace, 2, SPACE.busNumber, 0, first, last - first + 1);
}

/** `WordIO (ResourceProducer, …, EntireRange)`. */
export function wordIo(base: number, size: number): Aml {
  return addressSpace(TAG.wordAddressSpace, 2, SPACE.io, IO_ENTIRE_RANGE, base, size);
}

/** `DWordMemory (ResourceProducer, …, NonCacheable, ReadWrite)`. */
export function dwordMemory(base: Gpa, size: number): Aml {
  return addressSpace(TAG.dwordAddressSpace, 4, SPACE.memory, MEMORY_READ_WRITE, base, size);
}

/** `QWordMemory (ResourceProducer, …, NonCacheable, ReadWrite)`. */
export function qwordMemory(base: Gpa, size: number): Aml {
  return addressSpace(TAG.qwordAddressSpace, 8, SPACE.memory, MEMORY_READ_WRITE, base, size);
}

/** Granularity, minimum, maximum, translation offset, length: five numbers of one width behind three flag bytes. */
function addressSpace(
  tag: number,
  width: 2 | 4 | 8,
  type: number,
  flags: number,
  base: number,
  size: number,
): Aml {
  const numbers = [0, base, base + size - 1, 0, size].flatMap((value) => little(value, width));
  return [tag, ...little(3 + numbers.length, 2), type, FIXED_RANGE, flags, ...numbers];
}
