/**
 * Puts the ACPI tables into the BIOS area of guest RAM, where they are found by address (PVH, boot_params) and by
 * scanning.
 */
import type { Gpa, GuestRam } from '../../memory/types.js';
import { hex, MachineDescriptionError } from '../errors.js';
import { ACPI_AREA_END, ACPI_AREA_START, alignUp } from '../layout.js';
import type { AcpiConfig } from './config.js';
import { dsdtTerms } from './dsdt.js';
import { fadt, madt, mcfg, RSDP_SIZE, rsdp, table, xsdt } from './tables.js';

export type { AcpiConfig, AcpiRegister, AddressWindow, PciConfig, VirtioMmioConfig } from './config.js';

/** Cache-line alignment; the RSDP needs 16 bytes, the others none. */
const TABLE_ALIGNMENT = 64;
/** DSDT revision 2: integers have 64 bits. */
const DSDT_REVISION = 2;

export interface AcpiTables {
  /** For start_info and boot_params. */
  readonly rsdp: Gpa;
  readonly tables: readonly { readonly signature: string; readonly gpa: Gpa; readonly length: number }[];
}

/**
 * Builds and writes all tables.
 *
 * @throws MachineDescriptionError `ACPI_TOO_LARGE` when they outgrow 0xE0000-0xFFFFF, `ACPI_ENCODING` for numbers
 * that a field cannot hold, `ACPI_NO_CPU`, `ACPI_NO_RAM`.
 */
export function writeAcpi(ram: GuestRam, config: AcpiConfig): AcpiTables {
  if (config.cpuApicIds.length === 0) {
    throw new MachineDescriptionError('a machine needs at least one CPU in its ACPI tables', {
      code: 'ACPI_NO_CPU',
      hint: 'give the machine a CPU',
    });
  }
  if (!ram.contains(ACPI_AREA_START, ACPI_AREA_END - ACPI_AREA_START)) {
    throw new MachineDescriptionError(
      'the guest has less than 1 MiB of RAM, so its ACPI tables have no place',
      {
        code: 'ACPI_NO_RAM',
        hint: 'give the guest more memory, or boot without ACPI',
      },
    );
  }
  const placed: { signature: string; gpa: Gpa; bytes: Uint8Array }[] = [];
  let next = alignUp(ACPI_AREA_START + RSDP_SIZE, TABLE_ALIGNMENT);
  const place = (bytes: Uint8Array): Gpa => {
    const gpa = next;
    next = alignUp(gpa + bytes.length, TABLE_ALIGNMENT);
    placed.push({ signature: String.fromCharCode(...bytes.subarray(0, 4)), gpa, bytes });
    return gpa;
  };

  const dsdt = place(table('DSDT', DSDT_REVISION, dsdtTerms(config)));
  const listed = [fadt(config, dsdt), madt(config), ...(config.pci === undefined ? [] : [mcfg(config.pci)])];
  const root = place(xsdt(listed.map(place)));
  if (next > ACPI_AREA_END) {
    throw new MachineDescriptionError(
      `the ACPI tables need ${hex(next - ACPI_AREA_START)} bytes and have ${hex(ACPI_AREA_END - ACPI_AREA_START)}`,
      { code: 'ACPI_TOO_LARGE', hint: 'give the machine fewer CPUs or virtio-mmio devices' },
    );
  }
  const pointer = rsdp(root);
  ram.write(ACPI_AREA_START, pointer);
  for (const { gpa, bytes } of placed) ram.write(gpa, bytes);
  return {
    rsdp: ACPI_AREA_START,
    tables: [
      { signature: 'RSDP', gpa: ACPI_AREA_START, length: pointer.length },
      ...placed.map(({ signature, gpa, bytes }) => ({ signature, gpa, length: bytes.length })),
    ],
  };
}
