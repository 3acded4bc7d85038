/** PCI configuration space, type 0 header (PCI Local Bus 3.0, section 6.1) and capability ids (PCI Code and ID Assignment). */

export const VENDOR_ID = 0x00;
export const DEVICE_ID = 0x02;
export const COMMAND = 0x04;
export const STATUS = 0x06;
export const REVISION_ID = 0x08;
export const CLASS_PROG = 0x09;
export const CLASS_SUB = 0x0a;
export const CLASS_BASE = 0x0b;
export const CACHE_LINE_SIZE = 0x0c;
export const LATENCY_TIMER = 0x0d;
export const HEADER_TYPE = 0x0e;
export const BAR0 = 0x10;
export const BAR_COUNT = 6;
export const SUBSYSTEM_VENDOR_ID = 0x2c;
export const SUBSYSTEM_ID = 0x2e;
export const CAPABILITY_POINTER = 0x34;
export const INTERRUPT_LINE = 0x3c;
export const INTERRUPT_PIN = 0x3d;
/** Capabilities begin behind the header. */
export const FIRST_CAPABILITY = 0x40;

/** Bytes of a conventional function's configuration space, and of what ECAM reserves for it. */
export const CONFIG_SIZE = 256;
export const ECAM_STRIDE = 4096;

/** Command register (section 6.2.2). */
export const COMMAND_IO = 0x0001;
export const COMMAND_MEMORY = 0x0002;
export const COMMAND_BUS_MASTER = 0x0004;
export const COMMAND_INTX_DISABLE = 0x0400;
/** The bits that a function without special cycles, parity and VGA snooping implements; SERR# is accepted and ignored. */
export const COMMAND_WRITABLE =
  COMMAND_IO | COMMAND_MEMORY | COMMAND_BUS_MASTER | 0x0040 | 0x0100 | COMMAND_INTX_DISABLE;

/** Status register (section 6.2.3). */
export const STATUS_INTERRUPT = 0x0008;
export const STATUS_CAPABILITIES = 0x0010;

export const BAR_IO = 0x1;
export const BAR_MEMORY_64 = 0x4;
export const BAR_PREFETCHABLE = 0x8;

export const CAPABILITY_VENDOR = 0x09;
export const CAPABILITY_MSIX = 0x11;

/** MSI-X (section 6.8.2): offsets inside the capability, bits of Message Control, and the table entry. */
export const MSIX_CONTROL = 2;
export const MSIX_TABLE = 4;
export const MSIX_PBA = 8;
export const MSIX_CAPABILITY_SIZE = 12;
export const MSIX_ENABLE = 0x8000;
export const MSIX_FUNCTION_MASK = 0x4000;
export const MSIX_ENTRY_SIZE = 16;
export const MSIX_VECTOR_MASKED = 1;
