import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ArrayRam } from '../../memory/fake-ram.js';
import { MachineDescriptionError } from '../errors.js';
import { type AcpiConfig, S5_SLEEP_CONTROL_VALUE } from './config.js';
import { type AcpiTables, writeAcpi } from './write.js';

const io = (address: number) => ({ space: 'io' as const, address });

/** A machine with one of everything, so that the golden bytes cover every construct. */
const REFERENCE: AcpiConfig = {
  cpuApicIds: [0, 1, 300],
  ioApic: { id: 2, address: 0xfec00000 },
  interruptOverrides: [{ irq: 0, gsi: 2 }],
  reset: { register: io(0x600), value: 1 },
  sleep: { control: { space: 'memory', address: 0xfed00000 }, status: io(0x602) },
  pci: {
    ecam: { base: 0xe0000000, lastBus: 0 },
    mmio32: { base: 0xc0000000, size: 0x10000000 },
    mmio64: { base: 0x10_0000_0000, size: 0x10_0000_0000 },
    io: [{ base: 0x1000, size: 0xf000 }],
    intx: { base: 16, count: 8 },
  },
  serial: [{ port: 0x3f8, irq: 4 }],
  virtioMmio: [
    { base: 0xd0000000, size: 0x1000, gsi: 5 },
    { base: 0xd0001000, size: 0x1000, gsi: 6, trigger: 'level' },
  ],
  rtc: true,
  i8042: true,
  cpuDevices: true,
};

/** The least that a machine may have. */
const MINIMAL: AcpiConfig = {
  cpuApicIds: [0],
  ioApic: { id: 0, address: 0xfec00000 },
  reset: { register: io(0x600), value: 1 },
  sleep: { control: io(0x601), status: io(0x602) },
  serial: [],
  virtioMmio: [],
  rtc: false,
};

function written(config: AcpiConfig): { ram: ArrayRam; tables: AcpiTables } {
  const ram = new ArrayRam(2 ** 20);
  return { ram, tables: writeAcpi(ram, config) };
}

function bytesOf(config: AcpiConfig, signature: string): Uint8Array {
  const { ram, tables } = written(config);
  const found = tables.tables.find((table) => table.signature === signature);
  if (found === undefined) throw new Error(`no ${signature}`);
  return ram.bytes(found.gpa, found.length);
}

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);

test.each([
  ['reference', REFERENCE],
  ['minimal', MINIMAL],
])('golden: every byte of the %s machine', async (machine, config) => {
  const { ram, tables } = written(config);
  const text = tables.tables.map(({ signature, gpa, length }) => {
    const bytes = Buffer.from(ram.bytes(gpa, length)).toString('hex');
    return `${signature} 0x${gpa.toString(16)}\n${bytes.replace(/(.{96})(?=.)/g, '$1\n')}\n`;
  });
  await expect(text.join('\n')).toMatchFileSnapshot(`fixtures/${machine}.hex`);
});

test('every table is found from the RSDP by its address, and every checksum is zero', () => {
  const { ram, tables } = written(REFERENCE);
  const gpaOf = new Map(tables.tables.map((table) => [table.signature, table.gpa]));
  expect(Buffer.from(ram.bytes(tables.rsdp, 8)).toString()).toBe('RSD PTR ');
  expect(tables.rsdp % 16).toBe(0);
  expect(sum(ram.bytes(tables.rsdp, 20))).toBe(0);
  const xsdt = ram.readU64(tables.rsdp + 24);
  expect(xsdt).toBe(gpaOf.get('XSDT'));
  const listed = Array.from({ length: (ram.readU32(xsdt + 4) - 36) / 8 }, (_, index) =>
    ram.readU64(xsdt + 36 + index * 8),
  );
  expect(listed).toEqual(['FACP', 'APIC', 'MCFG'].map((signature) => gpaOf.get(signature)));
  expect(ram.readU64((gpaOf.get('FACP') ?? 0) + 140)).toBe(gpaOf.get('DSDT'));
  for (const { signature, gpa, length } of tables.tables) {
    expect(sum(ram.bytes(gpa, length)), signature).toBe(0);
    expect(gpa + length, signature).toBeLessThanOrEqual(0x100000);
  }
});

test('the FADT tells the guest what is absent', () => {
  const absent = view(bytesOf(MINIMAL, 'FACP'));
  expect(absent.getUint16(109, true)).toBe((1 << 2) | (1 << 4) | (1 << 5)); // no VGA, no ASPM, no RTC, no 8042
  expect(absent.getUint32(112, true) & (1 << 20)).toBe(1 << 20); // hardware-reduced
  expect(absent.getUint32(112, true) & (1 << 10)).toBe(1 << 10); // reset register
  const present = view(bytesOf(REFERENCE, 'FACP'));
  expect(present.getUint16(109, true)).toBe((1 << 1) | (1 << 2) | (1 << 4));
});

test('APIC ids from 255 on take the x2APIC form, with an NMI entry of their own', () => {
  const madt = bytesOf({ ...MINIMAL, cpuApicIds: [0, 254, 255, 300] }, 'APIC');
  const entries: string[] = [];
  for (let at = 44; at < madt.length; at += madt[at + 1] ?? madt.length) {
    entries.push(Buffer.from(madt.subarray(at, at + (madt[at + 1] ?? 0))).toString('hex'));
  }
  expect(entries).toEqual([
    '0008000001000000',
    '000801fe01000000',
    '09100000ff0000000100000002000000',
    '091000002c0100000100000003000000',
    '010c00000000c0fe00000000',
    '0406ff000001',
    '0a0c0000ffffffff01000000',
  ]);
});

test('a machine of 4096 CPUs with all devices still fits', () => {
  const cpuApicIds = Array.from({ length: 4096 }, (_, index) => index);
  const config = { ...REFERENCE, cpuApicIds, cpuDevices: false };
  const last = written(config).tables.tables.at(-1);
  expect((last?.gpa ?? 0) + (last?.length ?? 0)).toBeLessThanOrEqual(0x100000);
});

test('tables that outgrow the BIOS area are refused before anything is written', () => {
  const ram = new ArrayRam(2 ** 20);
  const virtioMmio = Array.from({ length: 4096 }, (_, index) => ({
    base: 0xd0000000,
    size: 0x1000,
    gsi: index,
  }));
  const write = () => writeAcpi(ram, { ...MINIMAL, virtioMmio });
  expect(write).toThrow(MachineDescriptionError);
  expect(write).toThrow('and have 0x20000');
  expect(ram.bytes(0xe0000, 0x20000).every((byte) => byte === 0)).toBe(true);
});

test('a machine without CPU, or RAM below 1 MiB, has no tables', () => {
  expect(() => writeAcpi(new ArrayRam(2 ** 20), { ...MINIMAL, cpuApicIds: [] })).toThrow('at least one CPU');
  expect(() => writeAcpi(new ArrayRam(0x80000), MINIMAL)).toThrow('less than 1 MiB of RAM');
});

test('power off is one write: sleep type 5 and the enable bit', () => {
  expect(S5_SLEEP_CONTROL_VALUE).toBe(0x34);
});

const IASL = ['/usr/bin/iasl', '/usr/local/bin/iasl'].find(existsSync);

test.skipIf(IASL === undefined)(
  `the reference compiler reads every table and compiles the DSDT back to the same bytes${IASL === undefined ? ' (skipped: no iasl; install acpica-tools)' : ''}`,
  () => {
    const dir = mkdtempSync(join(tmpdir(), 'tvmm-acpi-'));
    const iasl = (...args: string[]) =>
      execFileSync(IASL ?? '', args, { cwd: dir, encoding: 'utf8', stdio: 'pipe' });
    try {
      for (const signature of ['DSDT', 'FACP', 'APIC', 'MCFG', 'XSDT']) {
        writeFileSync(join(dir, `${signature}.aml`), bytesOf(REFERENCE, signature));
        iasl('-d', `${signature}.aml`);
        expect(readFileSync(join(dir, `${signature}.dsl`), 'utf8'), signature).not.toMatch(
          /error|invalid|warning/i,
        );
      }
      // Remarks may stay; a warning or an error fails the test with the compiler's own words.
      const report = iasl('-we', '-p', 'again', 'DSDT.dsl');
      expect(report).toContain('0 Errors, 0 Warnings');
      const again = readFileSync(join(dir, 'again.aml'));
      expect(again.subarray(36).toString('hex')).toBe(
        Buffer.from(bytesOf(REFERENCE, 'DSDT').subarray(36)).toString('hex'),
      );
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
);
