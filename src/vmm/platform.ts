/**
 * The machine's fixed places besides memory: I/O ports, interrupt numbers, APIC ids; and what ACPI and the command line say about them.
 */
import {
  type AcpiConfig,
  buildMemoryMap,
  LINUX_DEFAULT_PARAMS,
  type MemoryMapEntry,
  mergeCmdline,
  splitCmdline,
  virtioMmioParam,
} from '../boot/index.js';
import { RESET_PORT, RESET_VALUE, SLEEP_CONTROL_PORT, SLEEP_STATUS_PORT } from '../devices/acpi-pm.js';
import { INTX_GSIS } from '../devices/pci/index.js';
import { COM1 } from '../devices/serial.js';
import { IOAPIC_BASE, LAPIC_BASE, PCI_ECAM, PCI_MMIO32, VIRTIO_MMIO } from '../memory/layout.js';
import type { RamRange } from '../memory/types.js';
import type { CompleteConfig } from './config.js';

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
    reset: { register: { space: 'io', address: RESET_PORT }, value: RESET_VALUE },
    sleep: {
      control: { space: 'io', address: SLEEP_CONTROL_PORT },
      status: { space: 'io', address: SLEEP_STATUS_PORT },
    },
    pci:
      config.transport === 'pci'
        ? {
            ecam: { base: PCI_ECAM.base, lastBus: 0 },
            mmio32: PCI_MMIO32,
            intx: { base: INTX_GSIS[0], count: INTX_GSIS.length },
          }
        : undefined,
    serial: [{ port: COM1.port, irq: COM1.gsi }],
    virtioMmio: Array.from({ length: virtioMmio }, (_, index) => virtioMmioWindow(index)),
    rtc: true,
  };
}

/** RAM, and the configuration window that Linux uses only where the map reserves it. */
export function memoryMap(config: CompleteConfig, ranges: readonly RamRange[]): MemoryMapEntry[] {
  const ecam = config.transport === 'pci' ? [{ gpa: PCI_ECAM.base, size: PCI_ECAM.size }] : [];
  return buildMemoryMap(ranges, ecam);
}

/**
 * The kernel's command line: our defaults and the user's words, which win. A kernel finds virtio-mmio devices through ACPI; where the user
 * switches that off they are named here (CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES), since a device that is named twice is found twice.
 */
export function kernelCmdline(config: CompleteConfig, virtioMmio: number): string {
  const noAcpi = splitCmdline(config.cmdline).params.includes('acpi=off');
  const devices = noAcpi
    ? Array.from({ length: virtioMmio }, (_, index) => virtioMmioParam(virtioMmioWindow(index)))
    : [];
  const transport = config.transport === 'mmio' ? ['pci=off', ...devices] : [];
  return mergeCmdline([...LINUX_DEFAULT_PARAMS, ...transport], config.cmdline);
}
