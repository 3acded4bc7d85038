/**
 * The DSDT: the devices that a guest cannot find by itself (ACPI 6.5, 5.2.11.1, and the PCI Firmware specification 3.3
 * for the host bridge).
 *
 * Names instead of methods throughout: nothing here changes at run time, and the interpreter has less to do. There is
 * no _OSC: the guest then leaves hot plug, AER and ASPM alone, which the machine does not have, and still uses MSI.
 */
import { type Aml, device, eisaId, int, name, pkg, scope, str } from './aml.js';
import { type AcpiConfig, type PciConfig, S5_SLEEP_TYPE, type VirtioMmioConfig } from './config.js';
import {
  dwordMemory,
  type InterruptKind,
  interrupt,
  ioPort,
  memory32Fixed,
  qwordMemory,
  resourceTemplate,
  wordBusNumber,
  wordIo,
} from './resources.js';

/** ISA interrupts: edge triggered, active high, not shared. */
const ISA_INTERRUPT: InterruptKind = { trigger: 'edge', polarity: 'high' };
const BUS_BYTES = 2 ** 20;
const PCI_DEVICES = 32;
const PCI_PINS = 4;
/** CONFIG_ADDRESS and CONFIG_DATA: the host bridge's own ports. */
const PCI_CONFIG_PORT = 0xcf8;

/** The definition block's terms (behind the table header). */
export function dsdtTerms(config: AcpiConfig): Aml {
  const devices = [
    ...(config.cpuDevices === true ? config.cpuApicIds.map((_, uid) => cpuDevice(uid)) : []),
    ...(config.pci === undefined ? [] : [hostBridge(config.pci), motherboard(config.pci)]),
    ...config.serial.map(({ port, irq }, index) =>
      device(
        `COM${index + 1}`,
        name('_HID', eisaId('PNP0501')),
        name('_UID', int(index)),
        name('_CRS', resourceTemplate(ioPort(port, 8), interrupt(irq, ISA_INTERRUPT))),
      ),
    ),
    ...(config.rtc ? [rtc()] : []),
    ...(config.i8042 === true ? [keyboard()] : []),
    ...config.virtioMmio.map(virtioMmio),
  ];
  return [...scope('_SB', ...devices), ...name('_S5', pkg(int(S5_SLEEP_TYPE), int(0), int(0), int(0)))];
}

/** A unique name of a letter and three hexadecimal digits: up to 4096 devices of a kind. */
function numbered(letter: string, index: number): string {
  return `${letter}${index.toString(16).toUpperCase().padStart(3, '0')}`;
}

function cpuDevice(uid: number): Aml {
  return device(numbered('C', uid), name('_HID', str('ACPI0007')), name('_UID', int(uid)));
}

function hostBridge({ ecam, configPorts = true, mmio32, mmio64, io = [], intx }: PciConfig): Aml {
  return device(
    'PCI0',
    name('_HID', eisaId('PNP0A08')),
    name('_CID', eisaId('PNP0A03')),
    name('_UID', int(0)),
    name('_SEG', int(0)),
    name('_BBN', int(0)),
    name(
      '_CRS',
      resourceTemplate(
        wordBusNumber(0, ecam.lastBus),
        ...(configPorts ? [ioPort(PCI_CONFIG_PORT, 8)] : []),
        ...io.map(({ base, size }) => wordIo(base, size)),
        dwordMemory(mmio32.base, mmio32.size),
        ...(mmio64 === undefined ? [] : [qwordMemory(mmio64.base, mmio64.size)]),
      ),
    ),
    name('_PRT', interruptRouting(intx)),
  );
}

/** _PRT: device n in the upper half of the address, any function; pins wired straight to GSIs (6.2.13). */
function interruptRouting({ base, count }: PciConfig['intx']): Aml {
  const routes: Aml[] = [];
  for (let slot = 0; slot < PCI_DEVICES; slot++) {
    for (let pin = 0; pin < PCI_PINS; pin++) {
      routes.push(pkg(int(slot * 0x10000 + 0xffff), int(pin), int(0), int(base + ((slot + pin) % count))));
    }
  }
  return pkg(...routes);
}

/** The ECAM window belongs to the board, not to the bridge (PCI Firmware specification, 4.1.2). */
function motherboard({ ecam }: PciConfig): Aml {
  return device(
    'MBRD',
    name('_HID', eisaId('PNP0C02')),
    name('_CRS', resourceTemplate(memory32Fixed(ecam.base, (ecam.lastBus + 1) * BUS_BYTES))),
  );
}

function rtc(): Aml {
  return device(
    'RTC',
    name('_HID', eisaId('PNP0B00')),
    name('_CRS', resourceTemplate(ioPort(0x70, 2), interrupt(8, ISA_INTERRUPT))),
  );
}

function keyboard(): Aml {
  return device(
    'KBD',
    name('_HID', eisaId('PNP0303')),
    name('_CRS', resourceTemplate(ioPort(0x60, 1), ioPort(0x64, 1), interrupt(1, ISA_INTERRUPT))),
  );
}

function virtioMmio({ base, size, gsi, trigger = 'edge' }: VirtioMmioConfig, index: number): Aml {
  return device(
    numbered('V', index),
    name('_HID', str('LNRO0005')),
    name('_UID', int(index)),
    name('_CRS', resourceTemplate(memory32Fixed(base, size), interrupt(gsi, { trigger, polarity: 'high' }))),
  );
}
