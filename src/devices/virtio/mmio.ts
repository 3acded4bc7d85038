/**
 * virtio over MMIO, version 2 (Virtual I/O Device 1.2, section 4.2): one page of registers, one interrupt.
 *
 * The interrupt is an irqfd on an edge-triggered GSI (the DSDT, or the command line's legacy IRQ, says so). Every event sets its ISR bit and
 * then makes an edge of its own, and the driver reads the ISR after the edge: so none is lost, and no thread needs a lock to interrupt. A
 * level would need one between "ISR is zero, lower the line" here and "ISR is set, raise it" on the I/O thread.
 *
 * The legacy interface (version 1), shared memory regions and queue reset are left out.
 */
import { signalEventfd } from '../../sys/eventfd.js';
import type { DeviceContext } from '../context.js';
import type { AccessSize, BusDevice } from '../device.js';
import type { StateWindow } from '../state.js';
import { ISR_CONFIG, ISR_QUEUE } from './constants.js';
import { QREG, REG, type VirtioDevice } from './device.js';

const MAGIC = 0x7472_6976;
const VERSION = 2;
/** "TVMM", little-endian. */
const VENDOR = 0x4d4d_5654;
const QUEUE_NOTIFY = 0x050;
const STATUS_OFFSET = 0x070;
const CONFIG = 0x100;
/** How long a reset may keep the vCPU: drivers of this transport do not poll, so it has to be over when their write is. */
const RESET_TIMEOUT_MS = 5000;

interface Register {
  readonly name: string;
  readonly read?: (device: VirtioDevice) => number;
  readonly write?: (device: VirtioDevice, value: number) => void;
}

/** A common register that is stored as it is written. */
function select(name: string, cell: number): Register {
  return {
    name,
    write: (device, value) => {
      device.state.u32[cell] = value;
    },
  };
}

/** A register of the selected queue, written while the queue is not in use. */
function queueRegister(name: string, cell: number): Register {
  return {
    name,
    write: (device, value) => {
      const queue = device.selectedQueueCell();
      if (queue !== undefined && device.queueWritable(queue)) device.state.u32[queue + cell] = value;
    },
  };
}

function constant(name: string, value: number): Register {
  return { name, read: () => value };
}

function setReady(device: VirtioDevice, value: number): void {
  const queue = device.selectedQueueCell();
  // VIRTIO_F_RING_RESET is not offered: a queue of a running device stops with the device.
  if (queue !== undefined && !device.active) device.state.u32[queue + QREG.ENABLE] = value & 1;
}

function ready(device: VirtioDevice): number {
  const queue = device.selectedQueueCell();
  return queue === undefined ? 0 : device.state.u32[queue + QREG.ENABLE];
}

function offered(device: VirtioDevice): number {
  return device.offeredFeatures(device.state.u32[REG.DEVICE_FEATURES_SELECT]);
}

function acknowledge(device: VirtioDevice, value: number): void {
  device.acknowledgeFeatures(device.state.u32[REG.DRIVER_FEATURES_SELECT], value);
}

/** Section 4.2.2, table 4.1. Status is handled apart: it may wait. */
const REGISTERS: ReadonlyMap<number, Register> = new Map<number, Register>([
  [0x000, constant('MagicValue', MAGIC)],
  [0x004, constant('Version', VERSION)],
  [0x008, { name: 'DeviceID', read: (device) => device.deviceId }],
  [0x00c, constant('VendorID', VENDOR)],
  [0x010, { name: 'DeviceFeatures', read: offered }],
  [0x014, select('DeviceFeaturesSel', REG.DEVICE_FEATURES_SELECT)],
  [0x020, { name: 'DriverFeatures', write: acknowledge }],
  [0x024, select('DriverFeaturesSel', REG.DRIVER_FEATURES_SELECT)],
  [0x030, select('QueueSel', REG.QUEUE_SELECT)],
  [
    0x034,
    { name: 'QueueNumMax', read: (device) => device.queueSizes[device.state.u32[REG.QUEUE_SELECT]] ?? 0 },
  ],
  [0x038, queueRegister('QueueNum', QREG.SIZE)],
  [0x044, { name: 'QueueReady', read: ready, write: setReady }],
  [QUEUE_NOTIFY, { name: 'QueueNotify', write: (device, value) => device.notify(value) }],
  [0x060, { name: 'InterruptStatus', read: (device) => device.isr }],
  [0x064, { name: 'InterruptACK', write: (device, value) => void device.takeIsr(value) }],
  [STATUS_OFFSET, { name: 'Status', read: (device) => device.status }],
  [0x080, queueRegister('QueueDescLow', QREG.DESC_LOW)],
  [0x084, queueRegister('QueueDescHigh', QREG.DESC_HIGH)],
  [0x090, queueRegister('QueueDriverLow', QREG.DRIVER_LOW)],
  [0x094, queueRegister('QueueDriverHigh', QREG.DRIVER_HIGH)],
  [0x0a0, queueRegister('QueueDeviceLow', QREG.DEVICE_LOW)],
  [0x0a4, queueRegister('QueueDeviceHigh', QREG.DEVICE_HIGH)],
  // No shared memory region exists: length and base read as -1 (section 4.2.2).
  [0x0b0, constant('SHMLenLow', 0xffff_ffff)],
  [0x0b4, constant('SHMLenHigh', 0xffff_ffff)],
  [0x0b8, constant('SHMBaseLow', 0xffff_ffff)],
  [0x0bc, constant('SHMBaseHigh', 0xffff_ffff)],
  [0x0fc, { name: 'ConfigGeneration', read: (device) => device.state.u32[REG.CONFIG_GENERATION] }],
]);

/** Where a device appears. */
export interface MmioPlacement {
  /** Guest-physical address of the 4 KiB window; the caller puts it on the MMIO bus. */
  readonly base: number;
  /** Edge-triggered. */
  readonly gsi: number;
}

export class VirtioMmio implements BusDevice {
  readonly name: string;
  readonly state: StateWindow;
  readonly #device: VirtioDevice;
  readonly #waitForReset: () => void;

  /**
   * Claims an irqfd; the owning thread registers it and one ioeventfd a queue.
   *
   * @param waitForReset what blocks until the I/O thread has finished a reset; for tests that have one thread
   */
  constructor(
    context: Pick<DeviceContext, 'vm' | 'eventfds' | 'isOwner'>,
    device: VirtioDevice,
    readonly placement: MmioPlacement,
    waitForReset: () => void = () => void device.waitForReset(RESET_TIMEOUT_MS),
  ) {
    this.name = `${device.name} (virtio-mmio)`;
    this.state = device.state;
    this.#device = device;
    this.#waitForReset = waitForReset;
    const irqfd = context.eventfds.next(`${device.name} interrupt`);
    const interrupt = (bit: number) => {
      device.raiseIsr(bit);
      signalEventfd(irqfd);
    };
    device.connect({
      queue: () => interrupt(ISR_QUEUE),
      config: () => interrupt(ISR_CONFIG),
      cleared() {},
    });
    if (!context.isOwner) return;
    context.vm.assignIrqfd(irqfd, placement.gsi);
    device.kicks.forEach((fd, index) => {
      const address = placement.base + QUEUE_NOTIFY;
      context.vm.assignIoeventfd({ fd, address, length: 4, datamatch: index });
    });
  }

  /** Registers are 32 bits wide and aligned (section 4.2.2.2); other accesses read 0. The configuration space takes any width. */
  read(offset: number, size: AccessSize): number {
    if (offset >= CONFIG) return this.#device.readConfig(offset - CONFIG, size);
    if (size !== 4) return 0;
    return REGISTERS.get(offset)?.read?.(this.#device) ?? 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= CONFIG) {
      this.#device.writeConfig(offset - CONFIG, size, value);
      return;
    }
    if (size !== 4) return;
    if (offset === STATUS_OFFSET) {
      this.#device.writeStatus(value & 0xff);
      if ((value & 0xff) === 0) this.#waitForReset();
      return;
    }
    REGISTERS.get(offset)?.write?.(this.#device, value);
  }
}
