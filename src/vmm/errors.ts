/** How machines fail, each as one sentence. */
import { SystemError, TvmmError } from '../sys/errors.js';
import { formatDump } from '../vcpu/dump.js';
import type { Exit } from '../vcpu/exit.js';
import type { VcpuEnd } from '../vcpu/run-loop.js';

/** A guest that cannot go on; `registers` holds the vCPU's state where KVM gave it. */
export class GuestError extends TvmmError {
  readonly registers: Readonly<Record<string, string>> | undefined;

  constructor(message: string, options: { code: string; hint?: string; registers?: Record<string, string> }) {
    super(message, options);
    this.registers = options.registers;
  }
}

/** A machine that could not be made or kept running by tvmm itself. */
export class MachineError extends TvmmError {}

const SOFTWARE_KVM_HINT =
  'A software KVM interprets only part of the instruction set: use --accel lab for stock kernels (see tvmm doctor).';

function bytesOf(instruction: Uint8Array | undefined): string {
  if (instruction === undefined) return '';
  return ` at the instruction bytes ${Buffer.from(instruction)
    .toString('hex')
    .replace(/(..)(?=.)/g, '$1 ')}`;
}

function fatalMessage(exit: Exit): string {
  switch (exit.reason) {
    case 'fail-entry':
      return `the processor refused to enter the guest (hardware reason 0x${exit.hardwareReason.toString(16)})`;
    case 'internal-error':
      return `${exit.description}${bytesOf(exit.instruction)}`;
    case 'unknown':
      return `KVM returned an exit reason that tvmm does not know (${exit.code})`;
    default:
      return `unexpected ${exit.reason} exit`;
  }
}

/** The error of a vCPU's end, or undefined where the end is no failure. */
export function errorOfEnd(index: number, end: VcpuEnd): TvmmError | undefined {
  const who = `vCPU ${index}`;
  switch (end.kind) {
    case 'triple-fault':
      return new GuestError(`the guest triple-faulted on ${who}: ${formatDump(end.dump)}`, {
        code: 'GUEST_TRIPLE_FAULT',
        hint: 'Its exception handlers failed, or it has none: check its IDT, stack and page tables.',
        registers: end.dump,
      });
    case 'fatal':
      return new GuestError(`${who} cannot go on: ${fatalMessage(end.exit)}; ${formatDump(end.dump)}`, {
        code: 'GUEST_FATAL_EXIT',
        hint: end.exit.reason === 'internal-error' ? SOFTWARE_KVM_HINT : undefined,
        registers: end.dump,
      });
    case 'system-event':
      if (end.event === 'shutdown' || end.event === 'reset') return undefined;
      return new GuestError(`the guest reported ${end.event}`, { code: 'GUEST_CRASHED' });
    case 'run-failed':
      return new SystemError('KVM_RUN', who, end.errno);
    case 'crashed':
      return new MachineError(`the thread of ${who} failed: ${end.message}`, { code: 'THREAD_FAILED' });
    default:
      return undefined;
  }
}
