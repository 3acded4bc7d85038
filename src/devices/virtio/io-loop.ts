/**
 * The I/O thread's loop (design.md section 3): blocks in epoll_wait on the kicks of all virtio devices and gives each queue a bounded turn,
 * so that a queue that floods starves no other. It ends when told to, never because of a guest.
 */
import type { GuestRam } from '../../memory/types.js';
import { EPOLLIN, Epoll } from '../../sys/epoll.js';
import { drainEventfd, signalEventfd } from '../../sys/eventfd.js';
import type { DeviceContext } from '../context.js';
import type { StateWindow } from '../state.js';
import type { VirtioDevice } from './device.js';
import { DeviceRunner, type FailureReporter } from './device-runner.js';

const COMMAND = 0;
const STATE = 1;
const MODES = { running: 0, paused: 1, stopped: 2 } as const;

/** What the loop does, or is asked to do. */
export type IoMode = keyof typeof MODES;

/** The loop's remote control: constructed by every thread, in the order of the device tree. */
export class IoControl {
  readonly wake: number;
  readonly #state: StateWindow;

  constructor(context: Pick<DeviceContext, 'arena' | 'eventfds'>) {
    this.#state = context.arena.claim('I/O thread', 2);
    this.wake = context.eventfds.next('I/O thread control');
  }

  /** Any thread: asks for a mode and returns at once. */
  request(mode: IoMode): void {
    Atomics.store(this.#state.i32, COMMAND, MODES[mode]);
    signalEventfd(this.wake);
  }

  /** Any other thread: blocks until the loop is in `mode`. @returns false after `timeoutMs` */
  waitFor(mode: IoMode, timeoutMs: number): boolean {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const state = Atomics.load(this.#state.i32, STATE);
      if (state === MODES[mode]) return true;
      const rest = deadline - Date.now();
      if (rest <= 0) return false;
      Atomics.wait(this.#state.i32, STATE, state, rest);
    }
  }

  /** The loop: what it was last asked for. */
  get requested(): number {
    return Atomics.load(this.#state.i32, COMMAND);
  }

  /** The loop: acknowledges. */
  acknowledge(mode: IoMode): void {
    Atomics.store(this.#state.i32, STATE, MODES[mode]);
    Atomics.notify(this.#state.i32, STATE);
  }
}

export class IoLoop implements Disposable {
  readonly #epoll = new Epoll();
  readonly #runners: DeviceRunner[] = [];
  readonly #control: IoControl;
  #paused = false;
  #stopped = false;
  /** Counts pauses, so that what finishes late does not answer for a later one. */
  #pauses = 0;

  /**
   * Creates every device's data plane.
   *
   * @throws whatever a plane's creation throws; what was created before is disposed
   */
  constructor(devices: readonly VirtioDevice[], ram: GuestRam, control: IoControl, report: FailureReporter) {
    this.#control = control;
    try {
      this.#epoll.add(control.wake, EPOLLIN, () => {
        drainEventfd(control.wake);
        this.#obey();
      });
      for (const device of devices) this.#runners.push(new DeviceRunner(device, ram, this.#epoll, report));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    // A restored device may be active from the start.
    for (const runner of this.#runners) runner.sync();
  }

  #obey(): void {
    const requested = this.#control.requested;
    if (requested === MODES.stopped) this.#stopped = true;
    else if (requested === MODES.running) this.#resume();
    else if (!this.#paused) this.#pause();
  }

  #resume(): void {
    this.#paused = false;
    this.#control.acknowledge('running');
  }

  #pause(): void {
    this.#paused = true;
    const pause = ++this.#pauses;
    // One more than the devices: the count cannot reach zero before all were asked.
    let busy = this.#runners.length + 1;
    const done = () => {
      busy--;
      if (busy === 0 && this.#paused && pause === this.#pauses) this.#acknowledgePause();
    };
    for (const runner of this.#runners) runner.quiesce(done);
    done();
  }

  #acknowledgePause(): void {
    for (const runner of this.#runners) runner.savePositions();
    this.#control.acknowledge('paused');
  }

  /**
   * One turn: waits for events at most `timeoutMs` (-1: for ever; not at all while queues are waiting for their turn), then serves them.
   *
   * @returns whether there was anything to do
   */
  step(timeoutMs: number): boolean {
    const waiting = !this.#paused && this.#runners.some((runner) => runner.hasPending);
    const ready = this.#epoll.wait(waiting ? 0 : timeoutMs);
    if (!this.#paused) for (const runner of this.#runners) runner.runPending();
    return waiting || ready > 0;
  }

  /** Blocks until the control asks to stop. */
  run(): void {
    this.#control.acknowledge('running');
    this.#obey();
    while (!this.#stopped) this.step(-1);
    this.#control.acknowledge('stopped');
  }

  [Symbol.dispose](): void {
    for (const runner of this.#runners.reverse()) runner[Symbol.dispose]();
    this.#runners.length = 0;
    this.#epoll[Symbol.dispose]();
  }
}
