/**
 * One virtio device on the I/O thread: activates its queues, runs its data plane, carries out resets, and turns every error into a failure
 * of this device alone (DEVICE_NEEDS_RESET, Virtual I/O Device 1.2, section 2.1.2).
 */
import type { GuestRam } from '../../memory/types.js';
import type { Epoll, EpollHandler } from '../../sys/epoll.js';
import { EPOLLET, EPOLLIN } from '../../sys/epoll.js';
import { drainEventfd } from '../../sys/eventfd.js';
import { STATUS, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC } from './constants.js';
import type { DataPlane, DataPlaneHost, PlaneEpoll } from './data-plane.js';
import { QREG, type VirtioDevice } from './device.js';
import { Virtqueue, VirtqueueError } from './queue.js';

/** Told once for each activation that fails. */
export type FailureReporter = (device: string, reason: string, cause: unknown) => void;

/** Errors in a row after which a handler is given up. */
const MAX_STRIKES = 16;

type Phase = 'inactive' | 'active' | 'failed' | 'draining';

export class DeviceRunner implements DataPlaneHost, Disposable {
  readonly name: string;
  readonly epoll: PlaneEpoll;
  readonly #plane: DataPlane;
  readonly #watched = new Set<number>();
  readonly #queues: (Virtqueue | undefined)[];
  /** Queues to process in the next turn. */
  readonly #pending: Uint8Array;
  #hasPending = false;
  #phase: Phase = 'inactive';
  /** The epoch that `#phase` speaks of. */
  #epoch = 0;
  /** A plane that failed to reset may still touch memory: it never runs again. */
  #broken = false;

  /** Creates the device's data plane. Its errors are the caller's: a machine whose disk cannot be opened does not start. */
  constructor(
    readonly device: VirtioDevice,
    readonly ram: GuestRam,
    readonly loop: Epoll,
    readonly report: FailureReporter,
  ) {
    this.name = device.name;
    this.#queues = device.queueSizes.map(() => undefined);
    this.#pending = new Uint8Array(device.queueSizes.length);
    this.epoll = {
      add: (fd, events, handler) => this.#watch(fd, events, this.#bounded(fd, handler)),
      modify: (fd, events) => loop.modify(fd, events),
      remove: (fd) => {
        if (this.#watched.delete(fd)) loop.remove(fd);
      },
    };
    this.#plane = device.createDataPlane(this);
    this.#watch(device.control, EPOLLIN, () => {
      drainEventfd(device.control);
      this.sync();
    });
    // Edge-triggered: each signal is an event of its own, so that no kick costs a read(2) to clear the counter.
    device.kicks.forEach((fd, index) => {
      this.#watch(fd, EPOLLIN | EPOLLET, () => this.again(index));
    });
  }

  #watch(fd: number, events: number, handler: EpollHandler): void {
    this.loop.add(fd, events, handler);
    this.#watched.add(fd);
  }

  /** A plane's handler. One that only throws would be called for ever, as its descriptor stays ready: it is taken out. */
  #bounded(fd: number, handler: EpollHandler): EpollHandler {
    let strikes = 0;
    return (ready) => {
      strikes++;
      if (this.#guard(() => handler(ready))) strikes = 0;
      if (strikes === MAX_STRIKES) this.epoll.remove(fd);
    };
  }

  /** Runs `body`; its error fails the device. */
  #guard(body: () => void): boolean {
    try {
      body();
      return true;
    } catch (error) {
      this.#fail(error instanceof Error ? error.message : String(error), error);
      return false;
    }
  }

  /** Catches up with what the driver did to the status register: a reset, an activation, or both. */
  sync(): void {
    if (this.#phase === 'draining') return;
    const word = this.device.statusAndEpoch;
    const epoch = word >>> 8;
    if (epoch !== this.#epoch) {
      if (this.#phase !== 'inactive') {
        this.#startReset(epoch);
        return;
      }
      this.#epoch = epoch;
      this.device.drained(epoch);
    }
    if (this.#phase === 'inactive' && (word & STATUS.DRIVER_OK) !== 0) this.#activate();
  }

  #startReset(epoch: number): void {
    this.#phase = 'draining';
    this.#queues.fill(undefined);
    this.#pending.fill(0);
    this.#hasPending = false;
    let finished = false;
    const done = () => {
      if (finished) return;
      finished = true;
      this.#phase = 'inactive';
      this.#epoch = epoch;
      this.device.drained(epoch);
      this.sync();
    };
    try {
      this.#plane.reset(done);
    } catch (error) {
      this.#broken = true;
      this.report(this.name, 'its data plane cannot be reset', error);
      done();
    }
  }

  #activate(): void {
    this.#phase = 'active';
    if (this.#broken) {
      this.fail('its data plane failed for good');
      return;
    }
    this.#guard(() => {
      const low = this.device.driverFeaturesLow;
      this.device.queueSizes.forEach((_, index) => {
        this.#queues[index] = this.#buildQueue(index, low);
      });
      this.#plane.activate?.(low, this.device.featuresHigh);
      this.#queues.forEach((queue, index) => {
        if (queue !== undefined) this.again(index);
      });
    });
  }

  #buildQueue(index: number, features: number): Virtqueue | undefined {
    const { u32 } = this.device.state;
    const cell = this.device.queueCell(index);
    if (u32[cell + QREG.ENABLE] === 0) return undefined;
    const address = (low: number) => u32[cell + low] + u32[cell + low + 1] * 2 ** 32;
    const size = u32[cell + QREG.SIZE];
    if (size > this.device.queueSizes[index]) {
      throw new VirtqueueError(`queue ${index} of ${size} is larger than the device's`);
    }
    return new Virtqueue(this.ram, {
      size,
      descriptors: address(QREG.DESC_LOW),
      driver: address(QREG.DRIVER_LOW),
      device: address(QREG.DEVICE_LOW),
      indirect: (features & VIRTIO_F_INDIRECT_DESC) !== 0,
      eventIdx: (features & VIRTIO_F_EVENT_IDX) !== 0,
      nextAvail: u32[cell + QREG.NEXT_AVAIL],
      nextUsed: u32[cell + QREG.NEXT_USED],
    });
  }

  get hasPending(): boolean {
    return this.#hasPending;
  }

  /** Gives every queue that asked for it one turn. */
  runPending(): void {
    if (!this.#hasPending) return;
    this.#hasPending = false;
    for (let index = 0; index < this.#pending.length; index++) {
      if (this.#pending[index] === 0) continue;
      this.#pending[index] = 0;
      this.sync();
      if (this.#phase === 'active') this.#process(index);
    }
  }

  #process(index: number): void {
    this.#guard(() => this.#plane.process(index));
  }

  queue(index: number): Virtqueue | undefined {
    return this.#phase === 'active' ? this.#queues[index] : undefined;
  }

  signalUsed(index: number): void {
    if (this.queue(index)?.needsInterrupt() === true) this.interruptQueue(index);
  }

  interruptQueue(index: number): void {
    // A device that is being reset must be silent (section 2.4.1).
    if (this.device.epoch === this.#epoch) this.device.interruptQueue(index);
  }

  interruptConfig(): void {
    this.device.interruptConfig();
  }

  again(index: number): void {
    if (index >= this.#pending.length) return;
    this.#pending[index] = 1;
    this.#hasPending = true;
  }

  fail(reason: string): void {
    this.#fail(reason, undefined);
  }

  #fail(reason: string, cause: unknown): void {
    if (this.#phase === 'failed') return;
    if (this.#phase === 'active') {
      this.#phase = 'failed';
      this.#queues.fill(undefined);
      this.device.needsReset(this.#epoch);
    }
    this.report(this.name, reason, cause);
  }

  /** Stores the ring positions, for a snapshot of the device state. */
  savePositions(): void {
    this.#queues.forEach((queue, index) => {
      if (queue === undefined) return;
      const cell = this.device.queueCell(index);
      this.device.state.u32[cell + QREG.NEXT_AVAIL] = queue.nextAvail;
      this.device.state.u32[cell + QREG.NEXT_USED] = queue.nextUsed;
    });
  }

  /** Asks the plane to finish what is in flight. */
  quiesce(done: () => void): void {
    if (this.#plane.quiesce === undefined) done();
    else this.#plane.quiesce(done);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#watched) this.loop.remove(fd);
    this.#watched.clear();
    this.#plane[Symbol.dispose]();
  }
}
