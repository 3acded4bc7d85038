/**
 * What the ACPI tables say about a machine. Everything is a parameter: the machine's address map and its devices are
 * decided by whoever composes it.
 */
import type { Gpa } from '../../memory/types.js';

/** A register named by a Generic Address Structure (ACPI 6.5, 5.2.3.2); all of ours are one byte wide. */
export interface AcpiRegister {
  readonly space: 'io' | 'memory';
  readonly address: number;
}

export interface AddressWindow {
  readonly base: Gpa;
  /** Bytes. */
  readonly size: number;
}

export interface AcpiConfig {
  /** APIC ids in the order of the CPUs; the index becomes the ACPI processor UID. The first is the boot CPU. */
  readonly cpuApicIds: readonly number[];
  /** Default 0xFEE00000. */
  readonly localApicAddress?: Gpa;
  readonly ioApic: {
    readonly id: number;
    readonly address: Gpa;
    /** GSI of its pin 0; default 0. */
    readonly gsiBase?: number;
  };
  /**
   * ISA interrupts whose GSI is not their own number. KVM's default routing connects GSI n to IOAPIC pin n for all n,
   * the PIT's GSI 0 included, so none is needed there; `{ irq: 0, gsi: 2 }` describes a machine that reroutes the PIT
   * as a PC does.
   */
  readonly interruptOverrides?: readonly { readonly irq: number; readonly gsi: number }[];
  /** Written with `value` to restart the machine (FADT RESET_REG). */
  readonly reset: { readonly register: AcpiRegister; readonly value: number };
  /**
   * Sleep control and status registers of hardware-reduced ACPI (4.8.3.7). The guest powers off by writing
   * {@link S5_SLEEP_CONTROL_VALUE} to `control`; `status` reads as 0 and ignores writes.
   */
  readonly sleep: { readonly control: AcpiRegister; readonly status: AcpiRegister };
  readonly pci?: PciConfig;
  /** 16550A ports. */
  readonly serial: readonly { readonly port: number; readonly irq: number }[];
  readonly virtioMmio: readonly VirtioMmioConfig[];
  /** The CMOS clock at ports 0x70-0x71 with IRQ 8. Without it the guest is told not to look for one. */
  readonly rtc: boolean;
  /** A keyboard controller at 0x60/0x64. Default false: the guest then does not probe for one. */
  readonly i8042?: boolean;
  /** Processor devices (ACPI0007) in the DSDT. Default false: Linux finds its CPUs in the MADT. */
  readonly cpuDevices?: boolean;
}

export interface PciConfig {
  /** Configuration space window: 1 MiB for each of the buses 0 to `lastBus`. */
  readonly ecam: { readonly base: Gpa; readonly lastBus: number };
  /** The bridge answers at CONFIG_ADDRESS and CONFIG_DATA (0xCF8-0xCFF) too. Default true. */
  readonly configPorts?: boolean;
  /** Where BARs go below 4 GiB. */
  readonly mmio32: AddressWindow;
  /** Where 64-bit BARs may go. */
  readonly mmio64?: AddressWindow;
  /** I/O port ranges for BARs; may be empty. */
  readonly io?: readonly { readonly base: number; readonly size: number }[];
  /** Pin p (0 is INTA) of device n raises GSI `base + (n + p) % count`. */
  readonly intx: { readonly base: number; readonly count: number };
}

export interface VirtioMmioConfig extends AddressWindow {
  readonly gsi: number;
  /** Default edge: an irqfd without a resample descriptor gives a pulse. */
  readonly trigger?: 'edge' | 'level';
}

/** SLP_TYPx of soft-off, as the DSDT's _S5 object names it. */
export const S5_SLEEP_TYPE = 5;
/** What a guest writes to the sleep control register to power off: SLP_TYPx in bits 4:2, SLP_EN bit 5 (table 4.17). */
export const S5_SLEEP_CONTROL_VALUE = (S5_SLEEP_TYPE << 2) | (1 << 5);
