/**
 * Test support: a machine of one virtio device on one thread, and a guest driver that finds and drives it through the registers of either
 * transport, as section 3.1 of the Virtual I/O Device specification 1.2 prescribes. KVM is a recorder; kicks arrive as exits.
 */
import type { IoeventSpec } from '../../kvm/vm.js';
import { Vm } from '../../kvm/vm.js';
import { ArrayRam } from '../../memory/fake-ram.js';
import { PCI_ECAM } from '../../memory/layout.js';
import type { GuestRam } from '../../memory/types.js';
import { drainEventfd } from '../../sys/eventfd.js';
import { FileDescriptor } from '../../sys/fd.js';
import { Bus } from '../bus.js';
import { type DeviceContext, EventfdOwner } from '../context.js';
import type { AccessSize } from '../device.js';
import { MsiRoutes } from '../msi.js';
import { PciRoot } from '../pci/index.js';
import { ResetControl } from '../reset.js';
import { StateArena } from '../state.js';
import { STATUS, VIRTIO_F_EVENT_IDX, VIRTIO_F_VERSION_1_HI } from './constants.js';
import type { VirtioDevice } from './device.js';
import { GuestAllocator, GuestRing } from './guest-ring.js';
import { IoControl, IoLoop } from './io-loop.js';
import { VirtioMmio } from './mmio.js';
import { VirtioPci } from './pci.js';

/** Remembers what devices ask of KVM. */
export class RecordingVm extends Vm {
  /** Eventfd by GSI. */
  readonly irqfds = new Map<number, number>();
  readonly ioeventfds: IoeventSpec[] = [];
  readonly lines = new Map<number, 0 | 1>();

  constructor() {
    super(new FileDescriptor(2 ** 30, 'a recorded VM'), false);
  }
  override assignIrqfd(fd: number, gsi: number): void {
    this.irqfds.set(gsi, fd);
  }
  override assignIoeventfd(spec: IoeventSpec): void {
    this.ioeventfds.push(spec);
  }
  override deassignIoeventfd(spec: IoeventSpec): void {
    const index = this.ioeventfds.findIndex(({ fd, address }) => fd === spec.fd && address === spec.address);
    if (index >= 0) this.ioeventfds.splice(index, 1);
  }
  override setGsiRouting(): void {}
  override setIrqLine(gsi: number, level: 0 | 1): void {
    this.lines.set(gsi, level);
  }
}

/** What a driver can do with a transport's registers. */
export interface DriverTransport {
  status: number;
  deviceFeatures(word: number): number;
  setDriverFeatures(word: number, value: number): void;
  /** The largest size, 0 when there is no such queue. */
  queueSize(index: number): number;
  setQueue(index: number, ring: GuestRing): void;
  notify(index: number): void;
  readConfig(offset: number, size: AccessSize): number;
  writeConfig(offset: number, size: AccessSize, value: number): void;
  /** Whether the queue's interrupt fired since the last call; acknowledges it. */
  takeInterrupt(index: number): boolean;
  takeConfigInterrupt(): boolean;
}

const MMIO_BASE = 0xd000_0000;
const MMIO_GSI = 5;

class MmioDriver implements DriverTransport {
  #isr = 0;

  constructor(
    readonly bus: Bus,
    readonly vm: RecordingVm,
  ) {}
  #read(offset: number): number {
    return this.bus.read(MMIO_BASE + offset, 4);
  }
  #write(offset: number, value: number): void {
    this.bus.write(MMIO_BASE + offset, 4, value);
  }
  get status(): number {
    return this.#read(0x70);
  }
  set status(value: number) {
    this.#write(0x70, value);
  }
  deviceFeatures(word: number): number {
    this.#write(0x14, word);
    return this.#read(0x10);
  }
  setDriverFeatures(word: number, value: number): void {
    this.#write(0x24, word);
    this.#write(0x20, value);
  }
  queueSize(index: number): number {
    this.#write(0x30, index);
    return this.#read(0x34);
  }
  setQueue(index: number, ring: GuestRing): void {
    this.#write(0x30, index);
    this.#write(0x38, ring.size);
    for (const [offset, gpa] of [
      [0x80, ring.descriptors],
      [0x90, ring.driver],
      [0xa0, ring.device],
    ]) {
      this.#write(offset, gpa % 2 ** 32);
      this.#write(offset + 4, Math.floor(gpa / 2 ** 32));
    }
    this.#write(0x44, 1);
  }
  notify(index: number): void {
    this.#write(0x50, index);
  }
  readConfig(offset: number, size: AccessSize): number {
    return this.bus.read(MMIO_BASE + 0x100 + offset, size);
  }
  writeConfig(offset: number, size: AccessSize, value: number): void {
    this.bus.write(MMIO_BASE + 0x100 + offset, size, value);
  }
  #handle(): void {
    const fd = this.vm.irqfds.get(MMIO_GSI);
    if (fd === undefined || !drainEventfd(fd)) return;
    const isr = this.#read(0x60);
    this.#write(0x64, isr);
    this.#isr |= isr;
  }
  #take(bit: number): boolean {
    this.#handle();
    const fired = (this.#isr & bit) !== 0;
    this.#isr &= ~bit;
    return fired;
  }
  takeInterrupt(_index: number): boolean {
    return this.#take(1);
  }
  takeConfigInterrupt(): boolean {
    return this.#take(2);
  }
}

/** Where a virtio capability points. */
interface Structure {
  readonly address: number;
  readonly multiplier: number;
}

class PciDriver implements DriverTransport {
  readonly #structures = new Map<number, Structure>();
  /** GSI of each MSI-X vector, in the order in which they were unmasked. */
  readonly #vectors: number[] = [];
  readonly #pending = new Set<number>();

  /** Finds the device in slot 1 and switches it on. @param msix false to use INTA# */
  constructor(
    readonly bus: Bus,
    readonly vm: RecordingVm,
    readonly msix: boolean,
  ) {
    const bar = this.config(0x10, 4) & ~0xf;
    let msixAt = 0;
    for (let at = this.config(0x34, 1); at !== 0; at = this.config(at + 1, 1)) {
      const id = this.config(at, 1);
      if (id === 0x11) msixAt = at;
      if (id !== 0x09) continue;
      const address = (bar >>> 0) + this.config(at + 8, 4);
      this.#structures.set(this.config(at + 3, 1), { address, multiplier: this.config(at + 16, 4) });
    }
    this.setConfig(0x04, 2, 0x6);
    if (!msix) return;
    const table = (bar >>> 0) + (this.config(msixAt + 4, 4) & ~7);
    const count = (this.config(msixAt + 2, 2) & 0x7ff) + 1;
    this.setConfig(msixAt + 2, 2, 0x8000);
    for (let vector = 0; vector < count; vector++) {
      const entry = table + vector * 16;
      bus.write(entry, 4, 0xfee0_0000);
      bus.write(entry + 8, 4, 0x40 + vector);
      bus.write(entry + 12, 4, 0);
      this.#vectors.push([...vm.irqfds.keys()][vector] ?? -1);
    }
  }
  config(offset: number, size: AccessSize): number {
    return this.bus.read(PCI_ECAM.base + 8 * 4096 + offset, size);
  }
  setConfig(offset: number, size: AccessSize, value: number): void {
    this.bus.write(PCI_ECAM.base + 8 * 4096 + offset, size, value);
  }
  #at(type: number): Structure {
    const structure = this.#structures.get(type);
    if (structure === undefined) throw new Error(`the device has no structure of type ${type}`);
    return structure;
  }
  #read(offset: number, size: AccessSize): number {
    return this.bus.read(this.#at(1).address + offset, size);
  }
  #write(offset: number, size: AccessSize, value: number): void {
    this.bus.write(this.#at(1).address + offset, size, value);
  }
  get status(): number {
    return this.#read(0x14, 1);
  }
  set status(value: number) {
    this.#write(0x14, 1, value);
  }
  deviceFeatures(word: number): number {
    this.#write(0x00, 4, word);
    return this.#read(0x04, 4);
  }
  setDriverFeatures(word: number, value: number): void {
    this.#write(0x08, 4, word);
    this.#write(0x0c, 4, value);
  }
  queueSize(index: number): number {
    this.#write(0x16, 2, index);
    return this.#read(0x18, 2);
  }
  setQueue(index: number, ring: GuestRing): void {
    if (this.msix) this.#write(0x10, 2, 0);
    this.#write(0x16, 2, index);
    this.#write(0x18, 2, ring.size);
    if (this.msix) this.#write(0x1a, 2, index + 1);
    for (const [offset, gpa] of [
      [0x20, ring.descriptors],
      [0x28, ring.driver],
      [0x30, ring.device],
    ]) {
      this.#write(offset, 4, gpa % 2 ** 32);
      this.#write(offset + 4, 4, Math.floor(gpa / 2 ** 32));
    }
    this.#write(0x1c, 2, 1);
  }
  notify(index: number): void {
    this.#write(0x16, 2, index);
    const { address, multiplier } = this.#at(2);
    this.bus.write(address + this.#read(0x1e, 2) * multiplier, 2, index);
  }
  readConfig(offset: number, size: AccessSize): number {
    return this.bus.read(this.#at(4).address + offset, size);
  }
  writeConfig(offset: number, size: AccessSize, value: number): void {
    this.bus.write(this.#at(4).address + offset, size, value);
  }
  #take(vector: number, isrBit: number): boolean {
    if (this.msix) {
      const fd = this.vm.irqfds.get(this.#vectors[vector]);
      return fd !== undefined && drainEventfd(fd);
    }
    if ([...this.vm.lines.values()].includes(1)) {
      const isr = this.bus.read(this.#at(3).address, 1);
      for (const bit of [1, 2]) if ((isr & bit) !== 0) this.#pending.add(bit);
    }
    return this.#pending.delete(isrBit);
  }
  takeInterrupt(index: number): boolean {
    return this.#take(index + 1, 1);
  }
  takeConfigInterrupt(): boolean {
    return this.#take(0, 2);
  }
}

export type TransportKind = 'mmio' | 'pci' | 'pci-intx';
export const TRANSPORTS: readonly TransportKind[] = ['mmio', 'pci', 'pci-intx'];

/** How the test machine is built. */
export interface TestMachineOptions<D extends VirtioDevice> {
  readonly transport?: TransportKind;
  readonly device: (context: DeviceContext) => D;
  /** Default: 1 MiB of {@link ArrayRam} at 0. */
  readonly ram?: GuestRam;
}

/** A machine of one device. `using machine = new TestMachine({ device: (context) => new VirtioRng(context) })`. */
export class TestMachine<D extends VirtioDevice = VirtioDevice> implements Disposable {
  readonly ram: GuestRam;
  readonly vm = new RecordingVm();
  readonly device: D;
  readonly driver: DriverTransport;
  readonly mmio = new Bus('MMIO');
  readonly pio = new Bus('PIO');
  readonly allocator = new GuestAllocator();
  readonly control: IoControl;
  readonly loop: IoLoop;
  /** What the I/O loop reported. */
  readonly failures: string[] = [];
  readonly context: DeviceContext;
  readonly #eventfds = new EventfdOwner();

  constructor(options: TestMachineOptions<D>) {
    const { transport = 'mmio' } = options;
    this.ram = options.ram ?? new ArrayRam(2 ** 20);
    this.context = {
      arena: new StateArena(),
      ram: this.ram,
      vm: this.vm,
      eventfds: this.#eventfds,
      request: () => undefined,
      isOwner: true,
    };
    const routes = new MsiRoutes(this.context);
    const root = new PciRoot(this.context, new ResetControl(this.context));
    this.device = options.device(this.context);
    const placement = { base: MMIO_BASE, gsi: MMIO_GSI };
    if (transport === 'mmio') {
      // One thread: what a vCPU would wait for has to be done here.
      const window = new VirtioMmio(this.context, this.device, placement, () => this.pump());
      this.mmio.add(MMIO_BASE, 0x1000, window);
    } else {
      root.add(new VirtioPci(this.context, routes, this.device));
    }
    root.attach(this.pio, this.mmio);
    this.control = new IoControl(this.context);
    this.loop = new IoLoop([this.device], this.ram, this.control, (device, reason) =>
      this.failures.push(`${device}: ${reason}`),
    );
    this.driver =
      transport === 'mmio'
        ? new MmioDriver(this.mmio, this.vm)
        : new PciDriver(this.mmio, this.vm, transport === 'pci');
  }

  /** Runs the I/O loop until it has nothing to do. @throws Error when it never comes to rest */
  pump(): void {
    for (let turn = 0; this.loop.step(0); turn++) {
      if (turn > 10_000) throw new Error('the I/O loop does not come to rest');
    }
  }

  /** Runs the I/O loop until `condition` holds, for requests that finish on their own. @throws Error after 10 s */
  pumpUntil(condition: () => boolean): void {
    const deadline = Date.now() + 10_000;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error('the device did not do what was expected of it');
      this.loop.step(10);
    }
  }

  /**
   * Initialises the device as a well-behaved driver does: negotiation, queues, DRIVER_OK.
   *
   * @param features what to take of the low word of the offered features; the default takes all
   * @param size of each ring, at most what the device offers
   * @returns a ring a queue
   */
  initialise(features = 0xffff_ffff, size = Number.POSITIVE_INFINITY): GuestRing[] {
    const { driver } = this;
    driver.status = 0;
    this.pump();
    driver.status = STATUS.ACKNOWLEDGE;
    driver.status = STATUS.ACKNOWLEDGE | STATUS.DRIVER;
    const taken = (driver.deviceFeatures(0) & features) >>> 0;
    driver.setDriverFeatures(0, taken);
    driver.setDriverFeatures(1, VIRTIO_F_VERSION_1_HI);
    driver.status = STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK;
    const rings: GuestRing[] = [];
    for (let index = 0; driver.queueSize(index) !== 0; index++) {
      const entries = Math.min(size, driver.queueSize(index));
      const ring = new GuestRing(this.ram, this.allocator, entries, (taken & VIRTIO_F_EVENT_IDX) !== 0);
      driver.setQueue(index, ring);
      rings.push(ring);
    }
    driver.status = STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK | STATUS.DRIVER_OK;
    this.pump();
    return rings;
  }

  [Symbol.dispose](): void {
    this.loop[Symbol.dispose]();
    this.#eventfds[Symbol.dispose]();
  }
}

/** A feature mask for {@link TestMachine.initialise}: without EVENT_IDX. */
export const WITHOUT_EVENT_IDX = (0xffff_ffff - VIRTIO_F_EVENT_IDX) >>> 0;
