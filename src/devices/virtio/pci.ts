/**
 * virtio over PCI (Virtual I/O Device 1.2, section 4.1), modern interface only: one BAR with all structures, MSI-X with INTx as fallback, a
 * kick of each queue through an ioeventfd at its own notify address. The transitional interface, shared memory and notification data are
 * left out.
 */
import { SystemError } from '../../sys/errors.js';
import type { DeviceContext } from '../context.js';
import type { AccessSize } from '../device.js';
import type { MsiDelivery, MsiRoutes } from '../msi.js';
import { type Bar, type BarHandler, type Msix, PciFunction } from '../pci/index.js';
import { ISR_CONFIG, ISR_QUEUE, VIRTIO_ID, VIRTIO_MSI_NO_VECTOR } from './constants.js';
import { QREG, REG, type VirtioDevice } from './device.js';
import { COMMON_SIZE, readCommon, writeCommon } from './pci-common.js';

const VENDOR_ID = 0x1af4;
const DEVICE_ID_BASE = 0x1040;
/** Section 4.1.2.1: a non-transitional device has revision 1 or higher and a subsystem id of 0x40 or higher. */
const REVISION = 1;
const SUBSYSTEM_ID = 0x1100;
const CAPABILITY_VENDOR = 0x09;

/** PCI class codes by device id; everything else is "unclassified". */
const CLASS_CODES: ReadonlyMap<number, number> = new Map([
  [VIRTIO_ID.NET, 0x020000],
  [VIRTIO_ID.BLOCK, 0x010000],
  [VIRTIO_ID.CONSOLE, 0x078000],
  [VIRTIO_ID.VSOCK, 0x078000],
  [VIRTIO_ID.FS, 0x018000],
]);
const CLASS_OTHER = 0x00ff00;

/** The BAR. */
const LAYOUT = {
  COMMON: 0x0000,
  ISR: 0x0800,
  CONFIG: 0x1000,
  NOTIFY: 0x2000,
  MSIX_TABLE: 0x3000,
  MSIX_PBA: 0x3800,
  SIZE: 0x4000,
} as const;
const CONFIG_SIZE = 0x1000;
const ISR_SIZE = 4;
const NOTIFY_MULTIPLIER = 4;

/** virtio_pci_cap cfg_type values (section 4.1.4). */
const CFG_TYPE = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const;
/** Offsets inside the PCI configuration access capability (section 4.1.4.9). */
const CAP_BAR = 4;
const CAP_OFFSET = 8;
const CAP_LENGTH = 12;
const CAP_DATA = 16;

function capability(type: number, offset: number, length: number, extra?: number): Uint8Array {
  const body = new DataView(new ArrayBuffer(extra === undefined ? 14 : 18));
  body.setUint8(0, body.byteLength + 2);
  body.setUint8(1, type);
  body.setUint32(6, offset, true);
  body.setUint32(10, length, true);
  if (extra !== undefined) body.setUint32(14, extra, true);
  return new Uint8Array(body.buffer);
}

function isAccessSize(size: number): size is AccessSize {
  return size === 1 || size === 2 || size === 4;
}

export class VirtioPci extends PciFunction {
  readonly device: VirtioDevice;
  readonly #bar: Bar;
  readonly #msix: Msix;
  /** The PCI configuration access capability. */
  readonly #window: number;

  /** @param delivery how MSI-X vectors reach KVM; see {@link MsiDelivery} */
  constructor(
    context: DeviceContext,
    routes: MsiRoutes,
    device: VirtioDevice,
    delivery: MsiDelivery = 'irqfd',
  ) {
    super(context, `${device.name} (virtio-pci)`, {
      vendorId: VENDOR_ID,
      deviceId: DEVICE_ID_BASE + device.deviceId,
      classCode: CLASS_CODES.get(device.deviceId) ?? CLASS_OTHER,
      revision: REVISION,
      subsystemVendorId: VENDOR_ID,
      subsystemId: SUBSYSTEM_ID,
    });
    this.device = device;
    const queues = device.queueSizes.length;
    this.#bar = this.addBar(0, LAYOUT.SIZE);
    const place = (offset: number, size: number, handler: BarHandler) =>
      this.#bar.add({ offset, size, handler });
    place(LAYOUT.COMMON, COMMON_SIZE, this.#common());
    place(LAYOUT.ISR, ISR_SIZE, { read: () => this.#readIsr(), write() {} });
    place(LAYOUT.CONFIG, CONFIG_SIZE, this.#config());
    place(LAYOUT.NOTIFY, queues * NOTIFY_MULTIPLIER, {
      read: () => 0,
      write: (offset) => device.notify(Math.floor(offset / NOTIFY_MULTIPLIER)),
    });

    const add = (body: Uint8Array, writable?: Uint8Array) =>
      this.addCapability(CAPABILITY_VENDOR, body, writable);
    add(capability(CFG_TYPE.COMMON, LAYOUT.COMMON, COMMON_SIZE));
    add(capability(CFG_TYPE.ISR, LAYOUT.ISR, ISR_SIZE));
    add(capability(CFG_TYPE.DEVICE, LAYOUT.CONFIG, CONFIG_SIZE));
    add(capability(CFG_TYPE.NOTIFY, LAYOUT.NOTIFY, queues * NOTIFY_MULTIPLIER, NOTIFY_MULTIPLIER));
    const writable = new Uint8Array(18).fill(0xff, CAP_OFFSET - 2).fill(0xff, CAP_BAR - 2, CAP_BAR - 1);
    this.#window = add(capability(CFG_TYPE.PCI, 0, 0, 0), writable);
    this.#msix = this.addMsix(routes, {
      vectors: queues + 1,
      bar: this.#bar,
      tableOffset: LAYOUT.MSIX_TABLE,
      pbaOffset: LAYOUT.MSIX_PBA,
      delivery,
    });

    device.connect({
      queue: (index) => this.#interrupt(ISR_QUEUE, device.queueCell(index) + QREG.VECTOR),
      config: () => this.#interrupt(ISR_CONFIG, REG.CONFIG_VECTOR),
      cleared: () => this.state.locked(() => this.#followIsr()),
    });
  }

  /** Without the function's lock. @param cell where the vector's number is */
  #interrupt(isr: number, cell: number): void {
    if (this.msixEnabled) {
      const vector = this.device.state.u32[cell];
      if (vector < this.#msix.vectors.length) this.#msix.vectors[vector].signal();
      return;
    }
    this.device.raiseIsr(isr);
    this.state.locked(() => this.#followIsr());
  }

  /** INTA# is high while the ISR register is not zero. Under the function's lock, so that the two cannot part. */
  #followIsr(): void {
    this.driveIntx(this.device.isr !== 0);
  }

  /** Reading clears (section 4.1.4.5). */
  #readIsr(): number {
    const isr = this.device.takeIsr(0xff);
    this.#followIsr();
    return isr;
  }

  #common(): BarHandler {
    const vectorOf = (value: number) => (value < this.#msix.vectors.length ? value : VIRTIO_MSI_NO_VECTOR);
    return {
      read: (offset, size) => readCommon(this.device, offset, size),
      write: (offset, size, value) => {
        writeCommon(this.device, offset, size, value, vectorOf);
        if (this.device.isr === 0) this.#followIsr();
      },
    };
  }

  /** The model's lock is held too: its other users do not know of this function. */
  #config(): BarHandler {
    const { device } = this;
    return {
      read: (offset, size) => device.state.locked(() => device.readConfig(offset, size)),
      write: (offset, size, value) => device.state.locked(() => device.writeConfig(offset, size, value)),
    };
  }

  /** Kicks go to the kernel where it lets us; where it does not, they come as exits and do the same. */
  protected override onBarMoved(_bar: Bar, address: number, previous: number | undefined): void {
    const { vm } = this.context;
    this.device.kicks.forEach((fd, index) => {
      const at = (base: number) => base + LAYOUT.NOTIFY + index * NOTIFY_MULTIPLIER;
      // Length 0 matches any write and spares KVM on Intel the decoding of the instruction; old kernels only know sized ones.
      for (const length of [0, 2]) {
        if (previous !== undefined)
          attempt(() => vm.deassignIoeventfd({ fd, address: at(previous), length }));
      }
      for (const length of [0, 2]) {
        if (attempt(() => vm.assignIoeventfd({ fd, address: at(address), length }))) return;
      }
    });
  }

  /** The access that the capability describes, or undefined when it is none that section 4.1.4.9.2 allows. */
  #windowAccess(offset: number, size: AccessSize): { offset: number; size: AccessSize } | undefined {
    const data = this.#window + CAP_DATA;
    if (offset >= data + 4 || offset + size <= data) return undefined;
    const length = this.config.get32(this.#window + CAP_LENGTH);
    const target = this.config.get32(this.#window + CAP_OFFSET);
    if (this.config.get8(this.#window + CAP_BAR) !== 0 || !isAccessSize(length)) return undefined;
    return target % length === 0 && target < LAYOUT.SIZE ? { offset: target, size: length } : undefined;
  }

  protected override beforeConfigRead(offset: number, size: AccessSize): void {
    const access = this.#windowAccess(offset, size);
    if (access === undefined) return;
    this.config.set(this.#window + CAP_DATA, 4, this.#bar.read(access.offset, access.size));
  }

  protected override afterConfigWrite(offset: number, size: AccessSize): void {
    const access = this.#windowAccess(offset, size);
    if (access === undefined) return;
    const data = this.config.get32(this.#window + CAP_DATA);
    this.#bar.write(access.offset, access.size, access.size === 4 ? data : data % 2 ** (8 * access.size));
  }
}

/** Runs an ioctl that may fail for where the guest put the BAR: in use, or never registered. */
function attempt(call: () => void): boolean {
  try {
    call();
    return true;
  } catch (error) {
    if (error instanceof SystemError) return false;
    throw error;
  }
}
