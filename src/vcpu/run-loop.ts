/**
 * The vCPU thread's loop: KVM_RUN, handle the exit, again; pause and stop on request. Runs until the vCPU stops for good.
 */
import { constants } from 'node:os';
import type { Vcpu } from '../kvm/vcpu.js';
import { SystemError } from '../sys/errors.js';
import { Request, State, type VcpuControl } from './control.js';
import { dumpVcpu, type VcpuDump } from './dump.js';
import { decodeExit, type Exit, RunView } from './exit.js';
import { type Buses, handleExit, Outcome } from './handle-exit.js';

const { EINTR, EAGAIN } = constants.errno;

/** Why a vCPU's loop ended. Plain data: it crosses threads. */
export type VcpuEnd =
  | { kind: 'stopped' }
  | { kind: 'halted' | 'triple-fault'; dump: VcpuDump }
  | { kind: 'system-event'; event: string }
  | { kind: 'fatal'; exit: Exit; dump: VcpuDump }
  | { kind: 'run-failed'; errno: number; message: string }
  /** The thread itself failed: a defect of tvmm. */
  | { kind: 'crashed'; message: string };

/** Runs `vcpu` until it ends. Blocks its thread. */
export function runVcpu(vcpu: Vcpu, buses: Buses, control: VcpuControl): VcpuEnd {
  const view = new RunView(vcpu.run);
  control.firstEntry = performance.timeOrigin + performance.now();
  control.setState(State.Running);
  for (;;) {
    if (control.hasRequest) {
      const end = obey(vcpu, view, buses, control);
      if (end !== undefined) return end;
    }
    const errno = vcpu.enter();
    if (errno !== 0) {
      // EAGAIN: an application processor that still waits for its SIPI.
      if (errno === EINTR) view.immediateExit = 0;
      else if (errno !== EAGAIN) {
        const { message } = new SystemError('KVM_RUN', `vCPU ${vcpu.id}`, errno);
        return { kind: 'run-failed', errno, message };
      }
      continue;
    }
    const end = afterExit(vcpu, view, buses, control);
    if (end !== undefined) return end;
  }
}

/** Counts the exit and handles it. */
function afterExit(vcpu: Vcpu, view: RunView, buses: Buses, control: VcpuControl): VcpuEnd | undefined {
  control.count(view.reason);
  const outcome = handleExit(view, buses);
  return outcome === Outcome.Continue ? undefined : endFor(outcome, vcpu, view);
}

/** Pauses or stops as asked; returns when the vCPU is to run. */
function obey(vcpu: Vcpu, view: RunView, buses: Buses, control: VcpuControl): VcpuEnd | undefined {
  for (;;) {
    const { request } = control;
    if (request === Request.Stop) return { kind: 'stopped' };
    if (request === Request.Run) return undefined;
    const end = completePendingAccess(vcpu, view, buses, control);
    if (end !== undefined) return end;
    control.setState(State.Paused);
    control.waitWhilePaused();
    if (!control.hasRequest) control.setState(State.Running);
  }
}

/**
 * An IO or MMIO exit is finished by KVM only at the next entry: enter once more with `immediate_exit` set, so that a paused vCPU's
 * registers are those after the instruction. An access of several parts exits again for each of them.
 */
function completePendingAccess(
  vcpu: Vcpu,
  view: RunView,
  buses: Buses,
  control: VcpuControl,
): VcpuEnd | undefined {
  let end: VcpuEnd | undefined;
  view.immediateExit = 1;
  while (end === undefined && vcpu.enter() === 0) {
    end = afterExit(vcpu, view, buses, control);
    view.immediateExit = 1;
  }
  view.immediateExit = 0;
  return end;
}

function endFor(outcome: Outcome, vcpu: Vcpu, view: RunView): VcpuEnd | undefined {
  switch (outcome) {
    case Outcome.Halted:
      return { kind: 'halted', dump: dumpVcpu(vcpu) };
    case Outcome.Shutdown:
      return { kind: 'triple-fault', dump: dumpVcpu(vcpu) };
    case Outcome.SystemEvent: {
      const exit = decodeExit(view);
      return { kind: 'system-event', event: exit.reason === 'system-event' ? exit.event : exit.reason };
    }
    case Outcome.Fatal:
      return { kind: 'fatal', exit: decodeExit(view), dump: dumpVcpu(vcpu) };
    default:
      return undefined;
  }
}
