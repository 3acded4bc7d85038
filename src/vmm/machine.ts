/**
 * A machine's life: create, start, pause, resume, stop. What it is made of stands in build.ts.
 *
 * {@link Machine.ended} resolves when the machine is over, for whatever reason, with its threads gone and everything released.
 */
import type { Worker } from 'node:worker_threads';
import type { BootPlan } from '../boot/index.js';
import type { MachineRequest } from '../devices/device.js';
import type { Vm } from '../kvm/vm.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { Cleanup } from '../sys/cleanup.js';
import type { TvmmError } from '../sys/errors.js';
import { installKickHandler, kickThread } from '../sys/signal.js';
import { Request, State, VcpuControl } from '../vcpu/control.js';
import { RunView } from '../vcpu/exit.js';
import { buildMachine, type MachineParts } from './build.js';
import { type CompleteConfig, completeConfig, type MachineConfig } from './config.js';
import { errorOfEnd, MachineError } from './errors.js';
import type { ThreadMessage, VcpuThreadStart } from './threads.js';
import { Timeline } from './timeline.js';

/** How a machine ended. `halted`: its only vCPU executed HLT on a machine without interrupt controllers. */
export type MachineEnd =
  | { reason: 'poweroff' | 'reset' | 'stopped' | 'halted' }
  | { reason: 'failed'; error: TvmmError };

/** A thread that has not answered by then is kicked again: the signal may have met it outside KVM_RUN. */
const KICK_INTERVAL_MS = 20;

export class Machine implements AsyncDisposable {
  /** Resolves (never rejects) when the machine is over and everything it held is released. */
  readonly ended: Promise<MachineEnd>;
  /**
   * Resolves (never rejects) before {@link ended}: nothing of the guest runs any more, its output and its disks are complete. A process
   * that has nothing else to do may exit now and leave the rest to the kernel, which is quicker.
   */
  readonly quiet: Promise<MachineEnd>;
  readonly config: CompleteConfig;
  readonly timeline: Timeline;
  /** Called with what a thread wants logged. */
  onLog: (message: string) => void = () => {};

  readonly #cleanup: Cleanup;
  readonly #parts: MachineParts;
  readonly #controls: VcpuControl[];
  readonly #views: RunView[];
  readonly #exitGuard = () => this.#kick(Request.Stop);
  #resolveEnded: (end: MachineEnd) => void = () => {};
  #resolveQuiet: (end: MachineEnd) => void = () => {};
  /** Resolves when the I/O thread has finished what was in flight. */
  #ioEnded: Promise<void> | undefined;
  #end: MachineEnd | undefined;
  /** vCPU threads that have not ended; undefined before {@link start}. */
  #alive: number | undefined;

  private constructor(config: CompleteConfig, cleanup: Cleanup, timeline: Timeline) {
    this.config = config;
    this.timeline = timeline;
    this.#cleanup = cleanup;
    this.#parts = buildMachine(config, cleanup, timeline, (request) => this.#requested(request));
    this.#controls = this.#parts.vcpus.map((_, index) => new VcpuControl(this.#parts.control, index));
    this.#views = this.#parts.vcpus.map((vcpu) => new RunView(vcpu.run));
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.quiet = new Promise((resolve) => {
      this.#resolveQuiet = resolve;
    });
  }

  /**
   * Makes a machine: opens its files, sets up KVM, loads the guest. Nothing runs yet.
   *
   * @throws TvmmError of the part that failed; nothing is left behind
   */
  static async create(config: MachineConfig, timeline = new Timeline()): Promise<Machine> {
    const cleanup = new Cleanup();
    try {
      return new Machine(completeConfig(config), cleanup, timeline);
    } catch (error) {
      await cleanup.run();
      throw error;
    }
  }

  get memory(): GuestMemory {
    return this.#parts.memory;
  }
  get vm(): Vm {
    return this.#parts.vm;
  }
  /** How the guest was loaded. */
  get bootPlan(): BootPlan {
    return this.#parts.plan;
  }
  /** Sentences about what is unusual but works. */
  get warnings(): readonly string[] {
    return this.#parts.disks.flatMap((disk) => disk.warnings);
  }
  /** Exit counts by KVM_EXIT_* reason, one array a vCPU, live. */
  get exitCounts(): readonly Uint32Array[] {
    return this.#controls.map((control) => control.counts);
  }

  /** Lets the guest run. @throws MachineError when it was started before or is over */
  start(): void {
    if (this.#alive !== undefined || this.#end !== undefined) {
      throw new MachineError('a machine can be started once only', { code: 'MACHINE_STATE' });
    }
    const { vcpus, vcpuThread, view, control, startIo, affinity } = this.#parts;
    installKickHandler();
    process.on('exit', this.#exitGuard);
    this.#alive = vcpus.length;
    vcpus.forEach((vcpu, index) => {
      const start: VcpuThreadStart = {
        ...view,
        index,
        fd: vcpu.fd,
        apicId: vcpu.id,
        mmapSize: vcpu.run.length,
        control,
        affinity,
      };
      const worker = vcpuThread(index);
      this.#listen(worker, `vCPU ${index}`, () => this.#vcpuEnded(index));
      worker.postMessage(start);
    });
    const io = startIo?.();
    if (io !== undefined) {
      this.#listen(io, 'the I/O thread', () => {});
      this.#ioEnded = new Promise((resolve) => {
        io.on('message', (message: ThreadMessage) => message.type === 'io-ended' && resolve());
        io.once('exit', () => resolve());
      });
      io.postMessage(view);
    }
    this.timeline.mark('start');
  }

  #listen(worker: Worker, who: string, ended: () => void): void {
    worker.on('message', (message: ThreadMessage) => this.#hear(message));
    worker.on('error', (cause) => {
      const error = new MachineError(`the thread of ${who} failed: ${cause.message}`, {
        code: 'THREAD_FAILED',
        cause,
      });
      this.#finishWith({ reason: 'failed', error });
      ended();
    });
  }

  #hear(message: ThreadMessage): void {
    if (message.type === 'log') this.onLog(message.message);
    else if (message.type === 'request') this.#requested(message.request);
    else if (message.type === 'ended') {
      const { index, end } = message;
      const error = errorOfEnd(index, end);
      if (error !== undefined) this.#finishWith({ reason: 'failed', error });
      else if (end.kind === 'system-event') this.#requested(end.event === 'reset' ? 'reset' : 'poweroff');
      else if (end.kind === 'halted' && this.#alive === 1) this.#finishWith({ reason: 'halted' });
      this.#vcpuEnded(index);
    }
  }

  #requested(reason: MachineRequest): void {
    this.#finishWith({ reason });
  }

  #vcpuEnded(index: number): void {
    this.#controls[index].setState(State.Stopped);
    if (this.#alive === undefined || --this.#alive > 0) return;
    void this.#release();
  }

  /** The first reason counts; later ones are its consequences. */
  #finishWith(end: MachineEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    if (this.#alive === undefined) void this.#release();
    else if (this.#alive > 0) void this.#settle(Request.Stop, State.Stopped);
  }

  /** Asks all vCPUs, and interrupts what they are doing. */
  #kick(request: Request): void {
    this.#controls.forEach((control, index) => {
      control.setRequest(request);
      if (control.threadId === 0 || control.state === State.Stopped) return;
      this.#views[index].immediateExit = 1;
      kickThread(control.threadId);
    });
  }

  /** Kicks until every vCPU is in the state, or stopped. */
  async #settle(request: Request, target: State): Promise<void> {
    for (;;) {
      const late = this.#controls.find(({ state }) => state !== target && state !== State.Stopped);
      if (late === undefined) return;
      const seen = late.state;
      this.#kick(request);
      await late.stateChange(seen, KICK_INTERVAL_MS);
    }
  }

  async #release(): Promise<void> {
    process.off('exit', this.#exitGuard);
    let end: MachineEnd = this.#end ?? { reason: 'stopped' };
    this.#end = end;
    const firstEntry = this.#controls[0].firstEntry;
    if (firstEntry !== 0) this.timeline.markAt('first instruction', firstEntry);
    const { devices } = this.#parts;
    devices.io.request('stopped');
    await this.#ioEnded;
    devices.serial.flush(true);
    this.#resolveQuiet(end);
    try {
      await this.#cleanup.run();
    } catch (cause) {
      const error = new MachineError('the machine could not be taken down cleanly', {
        code: 'RELEASE_FAILED',
        cause,
      });
      if (end.reason !== 'failed') end = { reason: 'failed', error };
    }
    this.#resolveEnded(end);
  }

  /** Stops the machine, as pulling its plug would; resolves when it is over. A machine that is over already stays as it ended. */
  async stop(): Promise<MachineEnd> {
    this.#finishWith({ reason: 'stopped' });
    return this.ended;
  }

  /** Stops all vCPUs between two instructions; resolves when they stand still. @throws MachineError when it does not run */
  async pause(): Promise<void> {
    this.#requireRunning('paused');
    await this.#settle(Request.Pause, State.Paused);
  }

  /** Lets paused vCPUs go on. @throws MachineError when it does not run */
  async resume(): Promise<void> {
    this.#requireRunning('resumed');
    await this.#settle(Request.Run, State.Running);
  }

  #requireRunning(what: string): void {
    if (this.#alive !== undefined && this.#end === undefined) return;
    const why = this.#end === undefined ? 'before it was started' : 'after its end';
    throw new MachineError(`a machine cannot be ${what} ${why}`, { code: 'MACHINE_STATE' });
  }

  /**
   * Types into the serial console.
   *
   * @returns how many bytes were taken: the port's buffer is bounded, see {@link serialRoomFd}
   */
  writeSerial(bytes: Uint8Array): number {
    return this.#end === undefined ? this.#parts.devices.serial.receive(bytes) : bytes.length;
  }

  /** Whoever read the serial console has gone away; the guest's output is lost from then on. */
  get serialBroken(): boolean {
    return this.#parts.devices.serial.outputBroken;
  }

  /** An eventfd that is signalled when the serial port has room again. */
  get serialRoomFd(): number {
    return this.#parts.devices.serial.roomFd;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
