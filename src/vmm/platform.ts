/**
 * The machine's fixed places besides memory: I/O ports, interrupt numbers, APIC ids; and what ACPI and the command line say about them.
 */
import {
  type AcpiConfig,
  buildMemoryMap,
  LINUX_DEFAULT_PARAMS,
  type MemoryMapEntry,
  mergeCmdline,
  virtioMmioParam,
} from '../boot/index.js';
import { IOAPIC_BASE, LAPIC_BASE, PCI_ECAM, PCI_MMIO32, VIRTIO_MMIO } from '../memory/layout.js';
import type { RamRange } from '../memory/types.js';
import type { CompleteConfig } from './config.js';

/** COM1 of a PC. */
export const SERIAL = { port: 0x3f8, size: 8, gsi: 4 } as const;
export const RTC_PORT = 0x70;
export const RTC_GSI = 8;
/** Hardware-reduced ACPI sleep registers and the reset register, in ports that no PC device uses. */
export const ACPI_PM = {
  port: 0x600,
  sleepControl: 0x600,
  sleepStatus: 0x601,
  reset: 0x602,
  size: 4,
} as const;
export const ACPI_RESET_VALUE = 1;
export const PCI_CONFIG_PORT = 0xcf8;
/** GSIs 16 to 23 of the IOAPIC serve PCI INTx; virtio-mmio devices use 5 and up first, then the same. */
export const INTX = { base: 16, count: 8 } as const;

/** IOAPIC ids follow the processors'. */
function ioApicId(cpus: number): number {
  return Math.min(cpus, 254);
}

/** The GSI of the virtio-mmio device in window `index`: edge-triggered, so that each has one of its own as far as they reach. */
export function virtioMmioGsi(index: number): number {
  const own = [5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];
  return own[index % own.length];
}

/** The place of the virtio-mmio device in window `index`. */
export function virtioMmioWindow(index: number): { base: number; size: number; gsi: number } {
  return {
    base: VIRTIO_MMIO.base + index * VIRTIO_MMIO.stride,
    size: VIRTIO_MMIO.stride,
    gsi: virtioMmioGsi(index),
  };
}

/** What the ACPI tables say. @param virtioMmio number of virtio-mmio devices */
export function acpiConfig(config: CompleteConfig, virtioMmio: number): AcpiConfig {
  return {
    cpuApicIds: Array.from({ length: config.cpus }, (_, index) => index),
    localApicAddress: LAPIC_BASE,
    ioApic: { id: ioApicId(config.cpus), address: IOAPIC_BASE },
    reset: { register: { space: 'io', address: ACPI_PM.reset }, value: ACPI_RESET_VALUE },
    sleep: {
      control: { space: 'io', address: ACPI_PM.sleepControl },
      status: { space: 'io', address: ACPI_PM.sleepStatus },
    },
    pci:
      config.transport === 'pci'
        ? { ecam: { base: PCI_ECAM.base, lastBus: 0 }, mmio32: PCI_MMIO32, intx: INTX }
        : undefined,
    serial: [{ port: SERIAL.port, irq: SERIAL.gsi }],
    virtioMmio: Array.from({ length: virtioMmio }, (_, index) => virtioMmioWindow(index)),
    rtc: true,
  };
}

/** RAM, and the configuration window that Linux uses only where the map reserves it. */
export function memoryMap(config: CompleteConfig, ranges: readonly RamRange[]): MemoryMapEntry[] {
  const ecam = config.transport === 'pci' ? [{ gpa: PCI_ECAM.base, size: PCI_ECAM.size }] : [];
  return buildMemoryMap(ranges, ecam);
}

/** The kernel's command line: our defaults, virtio-mmio devices for kernels that look there, and the user's words, which win. */
export function kernelCmdline(config: CompleteConfig): string {
  return mergeCmdline(
    [...LINUX_DEFAULT_PARAMS, ...(config.transport === 'mmio' ? ['pci=off'] : [])],
    config.cmdline,
  );
}

/** `virtio_mmio.device=` items, for kernels that have the parameter and no ACPI. */
export function virtioMmioParams(count: number): string[] {
  return Array.from({ length: count }, (_, index) => virtioMmioParam(virtioMmioWindow(index)));
}
