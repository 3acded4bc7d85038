/**
 * PCI bus 0: configuration space through ECAM (PCI Firmware Specification 3.3, section 4.1) and through configuration mechanism #1
 * (PCI Local Bus 3.0, section 3.2.2.3.2), BAR addresses given out beforehand, INTA# of device n on GSI 16 + n mod 4. No bridges, hot plug
 * or other buses: every access to something absent reads all ones at once.
 *
 * A guest that has both mechanisms may prefer #1, which takes two exits an access where ECAM takes one: `mechanism1: false` leaves it out.
 */
import { PCI_ECAM, PCI_MMIO32 } from '../../memory/layout.js';
import type { AddressResolver, Bus } from '../bus.js';
import type { DeviceContext } from '../context.js';
import { type AccessSize, type BusDevice, floatingBus } from '../device.js';
import { SharedInterruptLine } from '../irq.js';
import type { ResetControl } from '../reset.js';
import type { StateWindow } from '../state.js';
import type { Bar, BarKind } from './bar.js';
import { PciFunction } from './function.js';
import { CONFIG_SIZE, ECAM_STRIDE } from './registers.js';

export const CONFIG_ADDRESS_PORT = 0xcf8;
const CONFIG_PORTS = 8;
const CONFIG_ENABLE = 0x8000_0000;
const MAX_DEVICES = 32;
const FUNCTIONS = 8;
/** I/O BARs; below lie the fixed ports. */
const PCI_IO = { base: 0xc000, size: 0x4000 } as const;
const BAR_ALIGNMENT = 4096;

/** GSIs of INTA# of devices 0, 1, 2, 3, 4 = 0, …; the ACPI _PRT says the same. */
export const INTX_GSIS = [16, 17, 18, 19] as const;

/** The GSI of a device's INTA#. */
export function intxGsi(device: number): number {
  return INTX_GSIS[device % INTX_GSIS.length];
}

/** 00:00.0: what a guest looks for to see that there is a PCI bus. Nothing is behind it. */
class HostBridge extends PciFunction {
  constructor(context: DeviceContext) {
    // The identity of a generic PCIe host bridge; drivers bind to the class only.
    super(context, 'PCI host bridge', { vendorId: 0x1b36, deviceId: 0x0008, classCode: 0x060000 });
  }
}

/** A move-aware window over the BARs of one address space. */
class BarWindow implements AddressResolver {
  constructor(
    private readonly root: PciRoot,
    private readonly io: boolean,
  ) {}

  resolve(address: number): { device: Bar; offset: number } | undefined {
    for (const pciFunction of this.root.functions) {
      for (const bar of pciFunction.bars) {
        if ((bar.kind === 'io') !== this.io || !pciFunction.decodes(bar)) continue;
        const offset = address - pciFunction.barAddress(bar);
        if (offset >= 0 && offset < bar.size) return { device: bar, offset };
      }
    }
    return undefined;
  }
}

class Ecam implements BusDevice {
  readonly name = 'PCI ECAM';
  readonly state: StateWindow;

  constructor(
    context: DeviceContext,
    private readonly root: PciRoot,
  ) {
    this.state = context.arena.claim(this.name, 1);
  }

  read(offset: number, size: AccessSize): number {
    return this.root.readConfig(Math.floor(offset / ECAM_STRIDE), offset % ECAM_STRIDE, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.root.writeConfig(Math.floor(offset / ECAM_STRIDE), offset % ECAM_STRIDE, size, value);
  }
}

/** Ports 0xCF8 to 0xCFF. The reset control register lies inside them, at 0xCF9, and is for single bytes only. */
class ConfigPorts implements BusDevice {
  readonly name = 'PCI configuration ports';
  readonly state: StateWindow;

  constructor(
    context: DeviceContext,
    private readonly root: PciRoot,
    private readonly resetControl: ResetControl,
  ) {
    this.state = context.arena.claim(this.name, 1);
  }

  /** The function (device × 8 + function) that the address register selects, or -1. */
  get #selected(): number {
    const address = this.state.u32[0];
    return address >= CONFIG_ENABLE && ((address >>> 16) & 0xff) === 0 ? (address >>> 8) & 0xff : -1;
  }

  #register(offset: number): number {
    return (this.state.u32[0] & 0xfc) + (offset & 3);
  }

  read(offset: number, size: AccessSize): number {
    if (offset >= 4) return this.root.readConfig(this.#selected, this.#register(offset), size);
    if (offset === 0 && size === 4) return this.state.u32[0];
    if (offset === 1 && size === 1) return this.resetControl.read(0, 1);
    return floatingBus(size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= 4) this.root.writeConfig(this.#selected, this.#register(offset), size, value);
    else if (offset === 0 && size === 4) this.state.u32[0] = value & ~0x7f00_0003;
    else if (offset === 1 && size === 1) this.resetControl.write(0, 1, value);
  }
}

export class PciRoot {
  readonly ecam: BusDevice;
  /** Configuration mechanism #1, with the reset control register that lies among its ports. */
  readonly ports: BusDevice;
  readonly #resetControl: ResetControl;
  readonly #functions: PciFunction[] = [];
  readonly #lines: readonly SharedInterruptLine[];
  #nextMemory: number = PCI_MMIO32.base;
  #nextIo: number = PCI_IO.base;

  constructor(context: DeviceContext, resetControl: ResetControl) {
    this.#resetControl = resetControl;
    this.ecam = new Ecam(context, this);
    this.ports = new ConfigPorts(context, this, resetControl);
    this.#lines = INTX_GSIS.map((gsi) => new SharedInterruptLine(context, gsi));
    this.#functions.push(new HostBridge(context));
  }

  /** By device number; 0 is the host bridge. */
  get functions(): readonly PciFunction[] {
    return this.#functions;
  }

  /**
   * Plugs a function into the next slot, places its BARs and wires INTA#.
   *
   * @returns the device number
   * @throws RangeError when the bus or its address window is full
   */
  add(pciFunction: PciFunction): number {
    const device = this.#functions.length;
    if (device >= MAX_DEVICES) throw new RangeError(`no PCI slot left for ${pciFunction.name}`);
    for (const bar of pciFunction.bars) pciFunction.assignBar(bar, this.#allocate(bar.size, bar.kind));
    pciFunction.connectIntx(this.#lines[device % this.#lines.length].connect(pciFunction.name));
    this.#functions.push(pciFunction);
    return device;
  }

  #allocate(size: number, kind: BarKind): number {
    const io = kind === 'io';
    const window = io ? PCI_IO : PCI_MMIO32;
    const alignment = io ? size : Math.max(size, BAR_ALIGNMENT);
    const address = Math.ceil((io ? this.#nextIo : this.#nextMemory) / alignment) * alignment;
    if (address + size > window.base + window.size)
      throw new RangeError(`no room for a BAR of ${size} bytes`);
    if (io) this.#nextIo = address + size;
    else this.#nextMemory = address + size;
    return address;
  }

  /** Puts everything on the buses. @param mechanism1 see the header; without it only 0xCF9 answers there */
  attach(pio: Bus, mmio: Bus, { mechanism1 = true }: { mechanism1?: boolean } = {}): void {
    mmio.add(PCI_ECAM.base, PCI_ECAM.size, this.ecam);
    mmio.addResolver(new BarWindow(this, false));
    pio.addResolver(new BarWindow(this, true));
    if (mechanism1) pio.add(CONFIG_ADDRESS_PORT, CONFIG_PORTS, this.ports);
    else pio.add(CONFIG_ADDRESS_PORT + 1, 1, this.#resetControl);
  }

  #function(devfn: number): PciFunction | undefined {
    return devfn % FUNCTIONS === 0 ? this.#functions[devfn / FUNCTIONS] : undefined;
  }

  /** A configuration read. @param devfn device × 8 + function @param register byte offset below 4096 */
  readConfig(devfn: number, register: number, size: AccessSize): number {
    const pciFunction = this.#function(devfn);
    if (pciFunction === undefined || register >= CONFIG_SIZE) return floatingBus(size);
    pciFunction.state.lock();
    try {
      return pciFunction.readConfig(register, size);
    } finally {
      pciFunction.state.unlock();
    }
  }

  writeConfig(devfn: number, register: number, size: AccessSize, value: number): void {
    const pciFunction = this.#function(devfn);
    if (pciFunction === undefined || register >= CONFIG_SIZE) return;
    pciFunction.state.lock();
    try {
      pciFunction.writeConfig(register, size, value);
    } finally {
      pciFunction.state.unlock();
    }
  }
}
