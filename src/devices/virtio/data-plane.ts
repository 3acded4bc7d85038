/**
 * The contract between a device model and the I/O thread that moves its data. A plane exists on that one thread only; everything it may
 * touch comes from its {@link DataPlaneHost}. Errors thrown out of any of its callbacks fail that device and nothing else.
 */
import type { GuestRam } from '../../memory/types.js';
import type { EpollHandler } from '../../sys/epoll.js';
import type { Virtqueue } from './queue.js';

/** What moves a device's data. All methods are called on the I/O thread. */
export interface DataPlane extends Disposable {
  /** The driver has set DRIVER_OK; features and queues are final until the next reset. Each queue is processed right after. */
  activate?(featuresLow: number, featuresHigh: number): void;
  /**
   * Serves a queue after a kick, on activation, or after {@link DataPlaneHost.again}. Must return after a bounded number of chains
   * ({@link serveQueue} does) and never wait.
   */
  process(queueIndex: number): void;
  /**
   * The driver resets the device: {@link DataPlaneHost.queue} already answers undefined. Calls `done` (now or later, once) when no
   * request in flight can touch guest memory any more.
   */
  reset(done: () => void): void;
  /**
   * The machine pauses: `process` is not called until it resumes. Calls `done` when nothing is in flight. A plane that never has
   * anything in flight between two calls leaves this out.
   */
  quiesce?(done: () => void): void;
}

/** Adds and removes descriptors of the I/O thread's epoll; a handler that throws fails the device. */
export interface PlaneEpoll {
  add(fd: number, events: number, handler: EpollHandler): void;
  modify(fd: number, events: number): void;
  remove(fd: number): void;
}

/** What the I/O thread gives to a plane. */
export interface DataPlaneHost {
  readonly name: string;
  readonly ram: GuestRam;
  readonly epoll: PlaneEpoll;
  /**
   * The queue of the current activation. Undefined while the device is not active, has failed, is being reset, or the driver left the
   * queue disabled. Ask anew in every callback: a queue that is kept belongs to an activation that may be over.
   */
  queue(index: number): Virtqueue | undefined;
  /** Call after pushing: interrupts the driver if it wants to hear of what was pushed since the last call. */
  signalUsed(index: number): void;
  /** Interrupts for a queue without asking the ring. */
  interruptQueue(index: number): void;
  /** Interrupts for a configuration change. */
  interruptConfig(): void;
  /** Calls `process(index)` again after the other devices had their turn. */
  again(index: number): void;
  /** The driver broke the rules: DEVICE_NEEDS_RESET. The reason is logged once per activation. Never throws. */
  fail(reason: string): void;
}
