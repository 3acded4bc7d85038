/**
 * For tests of devices: a context whose VM records what it is asked instead of asking KVM, over RAM in an ArrayBuffer. Not part of the product.
 */
import { type IoeventSpec, type IrqRoute, Vm } from '../kvm/vm.js';
import { ArrayRam } from '../memory/fake-ram.js';
import { SystemError } from '../sys/errors.js';
import { FileDescriptor } from '../sys/fd.js';
import type { DeviceContext, EventfdSource } from './context.js';
import type { AccessSize, BusDevice, InterruptLine, MachineRequest } from './device.js';
import { StateArena } from './state.js';

/** One call that a device made, in order. */
export type VmCall =
  | { call: 'setIrqLine'; gsi: number; level: 0 | 1 }
  | { call: 'setGsiRouting'; routes: readonly IrqRoute[] }
  | { call: 'assignIrqfd' | 'deassignIrqfd'; fd: number; gsi: number }
  | { call: 'assignIoeventfd' | 'deassignIoeventfd'; spec: IoeventSpec }
  | { call: 'signalMsi'; addressLow: number; addressHigh: number; data: number };

/** A Vm without a descriptor. */
export class RecordingVm extends Vm {
  readonly calls: VmCall[] = [];
  /** Makes a call fail, as KVM does for what a guest may have programmed. */
  refuse: (call: VmCall) => boolean = () => false;

  constructor() {
    super(new FileDescriptor(-1, 'the recording VM'), false);
  }

  #record(call: VmCall): void {
    this.calls.push(call);
    if (this.refuse(call)) throw new SystemError(`KVM ${call.call}`, '', 22);
  }

  /** The calls of one kind; forgets all of them when `forget`. */
  take<C extends VmCall['call']>(call: C): Extract<VmCall, { call: C }>[] {
    const isKind = (entry: VmCall): entry is Extract<VmCall, { call: C }> => entry.call === call;
    const found = this.calls.filter(isKind);
    this.calls.length = 0;
    return found;
  }

  override setIrqLine(gsi: number, level: 0 | 1): void {
    this.#record({ call: 'setIrqLine', gsi, level });
  }

  override setGsiRouting(routes: readonly IrqRoute[]): void {
    this.#record({ call: 'setGsiRouting', routes });
  }

  override assignIrqfd(fd: number, gsi: number): void {
    this.#record({ call: 'assignIrqfd', fd, gsi });
  }

  override deassignIrqfd(fd: number, gsi: number): void {
    this.#record({ call: 'deassignIrqfd', fd, gsi });
  }

  override assignIoeventfd(spec: IoeventSpec): void {
    this.#record({ call: 'assignIoeventfd', spec });
  }

  override deassignIoeventfd(spec: IoeventSpec): void {
    this.#record({ call: 'deassignIoeventfd', spec });
  }

  override signalMsi(addressLow: number, addressHigh: number, data: number): void {
    this.#record({ call: 'signalMsi', addressLow, addressHigh, data });
  }
}

/** Numbers that are no descriptors of this process, so that a stray write(2) to one fails. */
export class FakeEventfds implements EventfdSource {
  readonly names: string[] = [];

  next(name: string): number {
    this.names.push(name);
    return 0x4000_0000 + this.names.length - 1;
  }
}

export interface TestContext extends DeviceContext {
  readonly vm: RecordingVm;
  readonly eventfds: FakeEventfds;
  /** What devices asked of the machine. */
  readonly requests: MachineRequest[];
}

/**
 * A context for unit tests.
 *
 * @param options `buffer` and `isOwner: false` build a second thread's view of the same machine; `vm` may be shared with it
 */
export function testContext(
  options: { ramSize?: number; buffer?: SharedArrayBuffer; isOwner?: boolean; vm?: RecordingVm } = {},
): TestContext {
  const requests: MachineRequest[] = [];
  return {
    arena: new StateArena(options.buffer),
    ram: new ArrayRam(options.ramSize ?? 2 ** 20),
    vm: options.vm ?? new RecordingVm(),
    eventfds: new FakeEventfds(),
    request: (request) => requests.push(request),
    requests,
    isOwner: options.isOwner ?? true,
  };
}

/** An interrupt line that remembers its level and how often it rose. */
export class TestLine implements InterruptLine {
  level = false;
  rises = 0;

  constructor(readonly gsi = 4) {}

  setLevel(high: boolean): void {
    if (high && !this.level) this.rises++;
    this.level = high;
  }
}

/** Reads as the bus does: under the device's lock. */
export function read(device: BusDevice, offset: number, size: AccessSize = 1): number {
  return device.state.locked(() => device.read(offset, size));
}

/** Writes as the bus does. */
export function write(device: BusDevice, offset: number, value: number, size: AccessSize = 1): void {
  device.state.locked(() => device.write(offset, size, value));
}
