/**
 * The fixed-layout tables (ACPI 6.5, 5.2): headers, RSDP, XSDT, FADT of hardware-reduced ACPI, MADT, MCFG.
 *
 * The flags keep the guest from looking for what is not there: every needless port access costs a VM exit.
 */
import type { Gpa } from '../../memory/types.js';
import { little } from './aml.js';
import type { AcpiConfig, AcpiRegister, PciConfig } from './config.js';

const OEM_ID = 'TVMM  ';
const OEM_TABLE_ID = 'TVMMBOOT';
const CREATOR_ID = 'TVMM';
const HEADER_SIZE = 36;

function text(value: string): number[] {
  return [...value].map((char) => char.charCodeAt(0));
}

/** The byte that makes the sum of all bytes zero. */
export function checksum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index++) sum += bytes[index] ?? 0;
  return (256 - (sum % 256)) % 256;
}

/** DESCRIPTION_HEADER (5.2.6) with the body behind it, length and checksum filled in. */
export function table(signature: string, revision: number, body: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + body.length);
  bytes.set(text(signature), 0);
  bytes.set(little(bytes.length, 4), 4);
  bytes[8] = revision;
  bytes.set(text(OEM_ID), 10);
  bytes.set(text(OEM_TABLE_ID), 16);
  bytes.set(little(1, 4), 24);
  bytes.set(text(CREATOR_ID), 28);
  bytes.set(little(1, 4), 32);
  bytes.set(body, HEADER_SIZE);
  bytes[9] = checksum(bytes);
  return bytes;
}

export const RSDP_SIZE = 36;

/** RSDP revision 2 (5.2.5.3): the first 20 bytes have a checksum of their own. No RSDT: every 64-bit kernel reads the XSDT. */
export function rsdp(xsdt: Gpa): Uint8Array {
  const bytes = new Uint8Array(RSDP_SIZE);
  bytes.set(text('RSD PTR '), 0);
  bytes.set(text(OEM_ID), 9);
  bytes[15] = 2;
  bytes.set(little(RSDP_SIZE, 4), 20);
  bytes.set(little(xsdt, 8), 24);
  bytes[8] = checksum(bytes.subarray(0, 20));
  bytes[32] = checksum(bytes);
  return bytes;
}

/** XSDT (5.2.8): 64-bit addresses of the other tables; the DSDT is found through the FADT. */
export function xsdt(tables: readonly Gpa[]): Uint8Array {
  return table(
    'XSDT',
    1,
    tables.flatMap((gpa) => little(gpa, 8)),
  );
}

/** IAPC_BOOT_ARCH (table 5.11): a set bit either announces a device or says that one is absent. */
const BOOT_ARCH = {
  has8042: 1 << 1,
  vgaNotPresent: 1 << 2,
  pcieAspmControlsAbsent: 1 << 4,
  cmosRtcNotPresent: 1 << 5,
} as const;

/** FADT fixed feature flags (table 5.10). */
const FADT_FLAG = {
  wbinvd: 1 << 0,
  procC1: 1 << 2,
  powerButtonIsDevice: 1 << 4,
  sleepButtonIsDevice: 1 << 5,
  rtcWakeNotFixed: 1 << 6,
  resetRegister: 1 << 10,
  headless: 1 << 12,
  hardwareReduced: 1 << 20,
} as const;

/** FADT fields (table 5.9) as offsets in the table; all others are zero in hardware-reduced ACPI (table 5.9, note). */
const FADT = {
  size: 276,
  revision: 6,
  DSDT: 40,
  IAPC_BOOT_ARCH: 109,
  Flags: 112,
  RESET_REG: 116,
  RESET_VALUE: 128,
  FADT_Minor_Version: 131,
  X_DSDT: 140,
  SLEEP_CONTROL_REG: 244,
  SLEEP_STATUS_REG: 256,
  Hypervisor_Vendor_Identity: 268,
} as const;

/** FADT revision 6.5 (5.2.9). */
export function fadt(config: AcpiConfig, dsdt: Gpa): Uint8Array {
  const body = new Uint8Array(FADT.size - HEADER_SIZE);
  const put = (offset: number, bytes: readonly number[]) => body.set(bytes, offset - HEADER_SIZE);
  put(FADT.DSDT, little(dsdt, 4));
  put(
    FADT.IAPC_BOOT_ARCH,
    little(
      (config.i8042 === true ? BOOT_ARCH.has8042 : 0) |
        BOOT_ARCH.vgaNotPresent |
        BOOT_ARCH.pcieAspmControlsAbsent |
        (config.rtc ? 0 : BOOT_ARCH.cmosRtcNotPresent),
      2,
    ),
  );
  put(
    FADT.Flags,
    little(
      Object.values(FADT_FLAG).reduce((sum, flag) => sum + flag, 0),
      4,
    ),
  );
  put(FADT.RESET_REG, gas(config.reset.register));
  put(FADT.RESET_VALUE, little(config.reset.value, 1));
  put(FADT.FADT_Minor_Version, [5]);
  put(FADT.X_DSDT, little(dsdt, 8));
  put(FADT.SLEEP_CONTROL_REG, gas(config.sleep.control));
  put(FADT.SLEEP_STATUS_REG, gas(config.sleep.status));
  put(FADT.Hypervisor_Vendor_Identity, text('TVMM'));
  return table('FACP', FADT.revision, body);
}

/** Generic Address Structure (5.2.3.2): space, bit width, bit offset, access size (1: byte), address. */
function gas({ space, address }: AcpiRegister): number[] {
  return [space === 'io' ? 1 : 0, 8, 0, 1, ...little(address, 8)];
}

const DEFAULT_LOCAL_APIC = 0xfee00000;
/** APIC ids from here on need the 32-bit form (5.2.12.12); 255 is the xAPIC broadcast. */
const FIRST_X2APIC_ID = 255;
const ENABLED = 1;
/** MPS INTI flags: conforms to the bus, which for ISA is edge/high. */
const CONFORMS = 0;
const ALL_PROCESSORS = 0xff;
const ALL_PROCESSORS_X2APIC = 0xffffffff;
const LINT1 = 1;

/**
 * MADT (5.2.12). PCAT_COMPAT stays clear: a hardware-reduced guest does not use the 8259s, and would have to probe and
 * mask them.
 */
export function madt(config: AcpiConfig): Uint8Array {
  const { ioApic, cpuApicIds, interruptOverrides = [] } = config;
  const wide = cpuApicIds.some((id) => id >= FIRST_X2APIC_ID);
  return table('APIC', 6, [
    ...little(config.localApicAddress ?? DEFAULT_LOCAL_APIC, 4),
    ...little(0, 4),
    ...cpuApicIds.flatMap((id, uid) => processor(id, uid)),
    ...[1, 12, ...little(ioApic.id, 1), 0, ...little(ioApic.address, 4), ...little(ioApic.gsiBase ?? 0, 4)],
    ...interruptOverrides.flatMap(({ irq, gsi }) => [
      ...[2, 10, 0, ...little(irq, 1), ...little(gsi, 4), ...little(CONFORMS, 2)],
    ]),
    ...[4, 6, ALL_PROCESSORS, ...little(CONFORMS, 2), LINT1],
    ...(wide ? [10, 12, ...little(CONFORMS, 2), ...little(ALL_PROCESSORS_X2APIC, 4), LINT1, 0, 0, 0] : []),
  ]);
}

/** Processor Local APIC (type 0), or Local x2APIC (type 9) where id or UID outgrow a byte. */
function processor(id: number, uid: number): number[] {
  if (id < FIRST_X2APIC_ID && uid < FIRST_X2APIC_ID) return [0, 8, uid, id, ...little(ENABLED, 4)];
  return [9, 16, 0, 0, ...little(id, 4), ...little(ENABLED, 4), ...little(uid, 4)];
}

/** MCFG (PCI Firmware specification 3.3, 4.1.2): one segment, buses 0 to lastBus. */
export function mcfg({ ecam }: PciConfig): Uint8Array {
  return table('MCFG', 1, [
    ...little(0, 8),
    ...[...little(ecam.base, 8), ...little(0, 2), 0, ...little(ecam.lastBus, 1)],
    ...little(0, 4),
  ]);
}
