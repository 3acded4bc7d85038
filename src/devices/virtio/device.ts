/**
 * The transport-independent half of a virtio device: status, features, queue registers and configuration space (Virtual I/O Device 1.2,
 * sections 2.1 to 2.5 and 3.1), all kept in one shared window. Every thread constructs it; data moves in its {@link DataPlane}, which only
 * the I/O thread creates.
 *
 * It never waits for the I/O thread under the guest's access, with one bounded exception ({@link VirtioDevice.waitForReset}), and it does
 * not touch guest memory.
 */
import { signalEventfd } from '../../sys/eventfd.js';
import type { DeviceContext } from '../context.js';
import type { AccessSize } from '../device.js';
import type { StateWindow } from '../state.js';
import {
  STATUS,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1_HI,
  VIRTIO_MSI_NO_VECTOR,
} from './constants.js';
import type { DataPlane, DataPlaneHost } from './data-plane.js';

/** What a virtio device needs of its machine. */
export type VirtioContext = Pick<DeviceContext, 'arena' | 'eventfds' | 'isOwner'>;

/** What a device model passes to {@link VirtioDevice}. */
export interface VirtioModel {
  /** For messages: `drive0 (virtio-blk)`. */
  readonly name: string;
  /** Section 5: 2 block, 3 console, 4 entropy, ... */
  readonly deviceId: number;
  /** The largest size of each queue: powers of two, at most 32768. */
  readonly queueSizes: readonly number[];
  /** The device type's own feature bits 0 to 23; the reserved bits are added here. */
  readonly features?: number;
  /** 32-bit words of shared state for the model's own use ({@link VirtioDevice.model}). */
  readonly words?: number;
}

/** How a transport interrupts the driver. Any thread calls it, without the device's or the transport's lock. */
export interface VirtioInterrupt {
  /** The device used buffers of a queue. */
  queue(index: number): void;
  /** The configuration or the status changed. */
  config(): void;
  /** The ISR register was cleared behind the driver's back: a level-triggered line follows it. */
  cleared(): void;
}

/** Cells of the common registers. */
export const REG = {
  /** Epoch in the upper 24 bits, device status in the lower 8: one word, so that neither changes without the other. */
  STATUS_AND_EPOCH: 0,
  /** The last epoch before which the I/O thread is done with guest memory. */
  DRAINED_EPOCH: 1,
  /** What the status register shows while a reset is under way. */
  OLD_STATUS: 2,
  DEVICE_FEATURES_SELECT: 3,
  DRIVER_FEATURES_SELECT: 4,
  DRIVER_FEATURES_LOW: 5,
  DRIVER_FEATURES_HIGH: 6,
  QUEUE_SELECT: 7,
  ISR: 8,
  CONFIG_GENERATION: 9,
  CONFIG_VECTOR: 10,
  /** The transport's own cells. */
  TRANSPORT: 12,
} as const;
const QUEUES = 16;

/** Cells of one queue, from {@link VirtioDevice.queueCell}. */
export const QREG = {
  SIZE: 0,
  ENABLE: 1,
  DESC_LOW: 2,
  DESC_HIGH: 3,
  DRIVER_LOW: 4,
  DRIVER_HIGH: 5,
  DEVICE_LOW: 6,
  DEVICE_HIGH: 7,
  VECTOR: 8,
  /** Ring positions, stored when the machine pauses: what a snapshot needs beside guest memory. */
  NEXT_AVAIL: 9,
  NEXT_USED: 10,
} as const;
const QUEUE_STRIDE = 12;

const EPOCH_MASK = 0xff_ffff;
const DRIVER_STATUS_BITS =
  STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.DRIVER_OK | STATUS.FEATURES_OK | STATUS.FAILED;

export abstract class VirtioDevice {
  readonly name: string;
  readonly deviceId: number;
  readonly queueSizes: readonly number[];
  readonly state: StateWindow;
  /** The model's own words, shared between threads; guarded by `state`'s lock. */
  readonly model: Uint32Array;
  readonly featuresLow: number;
  readonly featuresHigh = VIRTIO_F_VERSION_1_HI;
  /** One eventfd a queue: the driver's kicks. */
  readonly kicks: readonly number[];
  /** Tells the I/O thread of an activation or a reset. */
  readonly control: number;
  #interrupt: VirtioInterrupt = { queue() {}, config() {}, cleared() {} };

  constructor(context: VirtioContext, model: VirtioModel) {
    this.name = model.name;
    this.deviceId = model.deviceId;
    this.queueSizes = model.queueSizes;
    this.featuresLow = ((model.features ?? 0) | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX) >>> 0;
    const words = model.words ?? 0;
    const common = QUEUES + model.queueSizes.length * QUEUE_STRIDE;
    this.state = context.arena.claim(model.name, common + words);
    this.model = this.state.u32.subarray(common, common + words);
    this.kicks = model.queueSizes.map((_, index) => context.eventfds.next(`${model.name} queue ${index}`));
    this.control = context.eventfds.next(`${model.name} control`);
    if (context.isOwner) this.#resetRegisters();
  }

  /** Creates the data plane; called once, on the I/O thread. */
  abstract createDataPlane(host: DataPlaneHost): DataPlane;

  /**
   * Reads the device-specific configuration space (under the device's lock). Offsets come from the guest; beyond the end reads 0.
   * A model with a configuration space overrides it.
   */
  readConfig(_offset: number, _size: AccessSize): number {
    return 0;
  }

  /** Writes the device-specific configuration space (under the device's lock). */
  writeConfig(_offset: number, _size: AccessSize, _value: number): void {}

  /** The transport says how to interrupt. Each device has exactly one transport. */
  connect(interrupt: VirtioInterrupt): void {
    this.#interrupt = interrupt;
  }

  get epoch(): number {
    return Atomics.load(this.state.u32, REG.STATUS_AND_EPOCH) >>> 8;
  }

  get #draining(): boolean {
    return Atomics.load(this.state.u32, REG.DRAINED_EPOCH) !== this.epoch;
  }

  /** The device status register (section 2.1): nonzero until a reset is complete. */
  get status(): number {
    return this.#draining ? this.state.u32[REG.OLD_STATUS] : this.statusAndEpoch & 0xff;
  }

  /** Epoch (shifted left by 8) and status in one read: what the I/O thread acts on. */
  get statusAndEpoch(): number {
    return Atomics.load(this.state.u32, REG.STATUS_AND_EPOCH);
  }

  /** DRIVER_OK of the current epoch, whether or not an earlier one is still being drained. */
  get active(): boolean {
    return (this.statusAndEpoch & STATUS.DRIVER_OK) !== 0;
  }

  /**
   * A write of the status register: 0 resets, anything else adds bits (a driver may not take bits back). FEATURES_OK stays clear when the
   * driver's features are not acceptable (section 2.2.2), DRIVER_OK without FEATURES_OK is ignored.
   */
  writeStatus(value: number): void {
    if (value === 0) {
      this.#requestReset();
      return;
    }
    const u32 = this.state.u32;
    for (;;) {
      const word = Atomics.load(u32, REG.STATUS_AND_EPOCH);
      let added = value & DRIVER_STATUS_BITS & ~word;
      if ((added & STATUS.FEATURES_OK) !== 0 && !this.#featuresAcceptable()) added &= ~STATUS.FEATURES_OK;
      if (((word | added) & STATUS.FEATURES_OK) === 0) added &= ~STATUS.DRIVER_OK;
      if (added === 0) return;
      if (Atomics.compareExchange(u32, REG.STATUS_AND_EPOCH, word, (word | added) >>> 0) !== word) continue;
      if ((added & STATUS.DRIVER_OK) !== 0) signalEventfd(this.control);
      return;
    }
  }

  #featuresAcceptable(): boolean {
    const low = this.state.u32[REG.DRIVER_FEATURES_LOW];
    const high = this.state.u32[REG.DRIVER_FEATURES_HIGH];
    return (
      (low & ~this.featuresLow) === 0 &&
      (high & ~this.featuresHigh) === 0 &&
      (high & VIRTIO_F_VERSION_1_HI) !== 0
    );
  }

  #requestReset(): void {
    const word = this.statusAndEpoch;
    const wasActive = (word & STATUS.DRIVER_OK) !== 0;
    const old = word & 0xff;
    if (wasActive && !this.#draining) this.state.u32[REG.OLD_STATUS] = old;
    this.#resetRegisters();
    Atomics.store(this.state.u32, REG.ISR, 0);
    // The I/O thread only knows of a device that was active: no other reset has to ask it.
    this.#replaceStatus(((word >>> 8) + (wasActive ? 1 : 0)) & EPOCH_MASK);
    if (wasActive) signalEventfd(this.control);
  }

  #replaceStatus(epoch: number): void {
    Atomics.store(this.state.u32, REG.STATUS_AND_EPOCH, (epoch << 8) >>> 0);
  }

  #resetRegisters(): void {
    const u32 = this.state.u32;
    u32.fill(0, REG.DEVICE_FEATURES_SELECT, REG.ISR);
    u32[REG.CONFIG_GENERATION] = 0;
    u32[REG.CONFIG_VECTOR] = VIRTIO_MSI_NO_VECTOR;
    this.queueSizes.forEach((size, index) => {
      const cell = this.queueCell(index);
      u32.fill(0, cell, cell + QUEUE_STRIDE);
      u32[cell + QREG.SIZE] = size;
      u32[cell + QREG.VECTOR] = VIRTIO_MSI_NO_VECTOR;
    });
  }

  /**
   * Waits until the I/O thread has let go of the guest's memory, for drivers that do not poll the status after a reset (virtio-mmio).
   * Called under the device's lock, which the I/O thread never needs to get there.
   *
   * @returns false when it is still not done after `timeoutMs`; the status register then stays nonzero until it is
   */
  waitForReset(timeoutMs: number): boolean {
    const i32 = this.state.i32;
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const drained = Atomics.load(i32, REG.DRAINED_EPOCH);
      if (drained === this.epoch) return true;
      const rest = deadline - Date.now();
      if (rest <= 0) return false;
      Atomics.wait(i32, REG.DRAINED_EPOCH, drained, rest);
    }
  }

  /** The I/O thread is done with every activation before `epoch`. Takes no lock: a vCPU may be waiting for this with the lock held. */
  drained(epoch: number): void {
    // The old activation may have interrupted after the driver wrote 0; a line left high would never be acknowledged.
    Atomics.store(this.state.u32, REG.ISR, 0);
    this.#interrupt.cleared();
    Atomics.store(this.state.i32, REG.DRAINED_EPOCH, epoch);
    Atomics.notify(this.state.i32, REG.DRAINED_EPOCH);
  }

  /** Index of the first cell of a queue's registers in `state.u32`. The caller has checked the queue's number. */
  queueCell(index: number): number {
    return QUEUES + index * QUEUE_STRIDE;
  }

  /** The cell of the queue that queue_select names, or undefined: no such queue, which reads as zero and ignores writes. */
  selectedQueueCell(): number | undefined {
    const index = this.state.u32[REG.QUEUE_SELECT];
    return index < this.queueSizes.length ? this.queueCell(index) : undefined;
  }

  /** Word 0 or 1 of the offered features; others are zero. */
  offeredFeatures(select: number): number {
    return select === 0 ? this.featuresLow : select === 1 ? this.featuresHigh : 0;
  }

  /** Word 0 or 1 of what the driver acknowledged; others are zero. */
  acknowledgedFeatures(select: number): number {
    return select > 1 ? 0 : this.state.u32[REG.DRIVER_FEATURES_LOW + select];
  }

  /** The driver acknowledges word 0 or 1 of its features; not after FEATURES_OK (section 3.1.1, step 5). */
  acknowledgeFeatures(select: number, value: number): void {
    if ((this.statusAndEpoch & STATUS.FEATURES_OK) !== 0) return;
    if (select === 0) this.state.u32[REG.DRIVER_FEATURES_LOW] = value;
    // Bits beyond 63 do not exist: acknowledging one of them must not look like success.
    else if (select === 1 || value !== 0) {
      this.state.u32[REG.DRIVER_FEATURES_HIGH] = select === 1 ? value : 0xffff_ffff;
    }
  }

  /** Feature bits 0 to 31 that the driver took. */
  get driverFeaturesLow(): number {
    return this.state.u32[REG.DRIVER_FEATURES_LOW];
  }

  /** Queue registers may be written: they exist, and the driver has not enabled the queue or started the device. */
  queueWritable(cell: number): boolean {
    return this.state.u32[cell + QREG.ENABLE] === 0 && !this.active;
  }

  /** Kicks a queue when a notification came as an exit; numbers of queues that do not exist are ignored. */
  notify(index: number): void {
    if (index < this.kicks.length) signalEventfd(this.kicks[index]);
  }

  /** Any thread: the device used buffers. */
  interruptQueue(index: number): void {
    this.#interrupt.queue(index);
  }

  /** Any thread: tells the driver to look at configuration and status, if it is there to be told. */
  interruptConfig(): void {
    if (this.active) this.#interrupt.config();
  }

  /** Any thread: changes the device-specific configuration under the lock, raises the generation and interrupts (section 2.5). */
  updateConfig(change: () => void): void {
    this.state.locked(() => {
      change();
      Atomics.add(this.state.u32, REG.CONFIG_GENERATION, 1);
    });
    this.interruptConfig();
  }

  /** The transport: sets bits of the ISR register. */
  raiseIsr(bits: number): void {
    Atomics.or(this.state.u32, REG.ISR, bits);
  }

  /** The transport: takes bits out of the ISR register; returns what it held. */
  takeIsr(bits: number): number {
    return Atomics.and(this.state.u32, REG.ISR, ~bits) & 0xff;
  }

  get isr(): number {
    return Atomics.load(this.state.u32, REG.ISR);
  }

  /**
   * Sets DEVICE_NEEDS_RESET (section 2.1.2) for the activation `epoch`, with a configuration interrupt.
   *
   * @returns false when that activation is over or had failed before
   */
  needsReset(epoch: number): boolean {
    const u32 = this.state.u32;
    for (;;) {
      const word = Atomics.load(u32, REG.STATUS_AND_EPOCH);
      if (word >>> 8 !== epoch || (word & STATUS.DEVICE_NEEDS_RESET) !== 0) return false;
      const failed = (word | STATUS.DEVICE_NEEDS_RESET) >>> 0;
      if (Atomics.compareExchange(u32, REG.STATUS_AND_EPOCH, word, failed) === word) break;
    }
    this.interruptConfig();
    return true;
  }
}
