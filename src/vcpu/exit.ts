/**
 * Exits decoded from struct kvm_run (KVM API, section 5). {@link decodeExit} makes a plain object of any exit, for errors, traces and
 * teaching; the run loop reads the same places through {@link RunView} without allocating.
 */
import { KVM_EXIT } from '../kvm/ioctl.js';
import { struct } from '../kvm/layout.js';
import type { Mapping } from '../sys/mapping.js';

/** Offset of the exit union in struct kvm_run. */
export const EXIT_UNION = 32;

/** The union members of struct kvm_run, at {@link EXIT_UNION}. */
export const ExitIo = struct('io', {
  direction: 'u8',
  size: 'u8',
  port: 'u16',
  count: 'u32',
  data_offset: 'u64',
});
export const ExitMmio = struct('mmio', {
  phys_addr: 'u64',
  data: { array: 'u8', count: 8 },
  len: 'u32',
  is_write: 'u8',
});
export const ExitFailEntry = struct('fail_entry', { hardware_entry_failure_reason: 'u64', cpu: 'u32' });
export const ExitInternal = struct('internal', {
  suberror: 'u32',
  ndata: 'u32',
  data: { array: 'u64', count: 16 },
});
export const ExitSystemEvent = struct('system_event', { type: 'u32', ndata: 'u32' });
export const ExitHypercall = struct('hypercall', { nr: 'u64', args: { array: 'u64', count: 6 }, ret: 'u64' });
export const ExitMsr = struct('msr', {
  error: 'u8',
  pad: { array: 'u8', count: 7 },
  reason: 'u32',
  index: 'u32',
  data: 'u64',
});

const UNION_WORD = EXIT_UNION / 4;

/** KVM_INTERNAL_ERROR_* suberrors. */
const INTERNAL_ERRORS: Record<number, string> = {
  1: 'KVM could not emulate an instruction',
  2: 'an exception could not be delivered',
  3: 'an event could not be delivered',
  4: 'the processor reported an unexpected exit',
};

/** KVM_SYSTEM_EVENT_* types. */
const SYSTEM_EVENTS: Record<number, string> = {
  1: 'shutdown',
  2: 'reset',
  3: 'crash',
  4: 'wakeup',
  5: 'suspend',
};

/** One VM exit. */
export type Exit =
  | { reason: 'io'; direction: 'in' | 'out'; port: number; size: 1 | 2 | 4; count: number; data: Uint8Array }
  | { reason: 'mmio'; address: number; length: number; write: boolean; data: Uint8Array }
  | { reason: 'hlt' | 'shutdown' | 'intr' | 'irq-window-open' | 'debug' }
  | { reason: 'fail-entry'; hardwareReason: bigint }
  | { reason: 'internal-error'; suberror: number; description: string; instruction: Uint8Array | undefined }
  | { reason: 'system-event'; event: string }
  | { reason: 'hypercall'; number: bigint }
  | { reason: 'rdmsr' | 'wrmsr'; index: number; data: bigint; why: number }
  | { reason: 'unknown'; code: number };

/** Typed-array views of one vCPU's struct kvm_run, made once. */
export class RunView {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly data: DataView;

  constructor(run: Mapping) {
    const buffer = run.view();
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.data = new DataView(buffer);
  }

  /** KVM_EXIT_* of the last exit. */
  get reason(): number {
    return this.u32[2];
  }

  /**
   * Makes the next (or the current) KVM_RUN return EINTR at once. Sequentially consistent: a thread that clears it and then finds no request
   * must not have its 0 arrive behind the 1 of a requester who was not seen.
   */
  set immediateExit(value: 0 | 1) {
    Atomics.store(this.u8, 1, value);
  }

  // io: direction, size and port share one word.
  get ioWord(): number {
    return this.u32[UNION_WORD];
  }
  get ioCount(): number {
    return this.u32[UNION_WORD + 1];
  }
  get ioDataOffset(): number {
    return this.u32[UNION_WORD + 2];
  }

  get mmioAddress(): number {
    const high = this.u32[UNION_WORD + 1];
    return high === 0 ? this.u32[UNION_WORD] : this.u32[UNION_WORD] + high * 2 ** 32;
  }
  /** Byte offset of mmio.data in struct kvm_run. */
  static readonly MMIO_DATA = EXIT_UNION + ExitMmio.offsets.data;
  get mmioLength(): number {
    return this.u32[UNION_WORD + ExitMmio.offsets.len / 4];
  }
  get mmioIsWrite(): boolean {
    return this.u8[EXIT_UNION + ExitMmio.offsets.is_write] !== 0;
  }
}

/** KVM_INTERNAL_ERROR_EMULATION with KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES: flags u64, size u8, bytes[15]. */
function instructionBytes(view: RunView): Uint8Array | undefined {
  const data = EXIT_UNION + ExitInternal.offsets.data;
  const ndata = view.u32[UNION_WORD + 1];
  if (ndata < 4 || (view.u8[data] & 1) === 0) return undefined;
  const size = Math.min(view.u8[data + 8], 15);
  return view.u8.slice(data + 9, data + 9 + size);
}

/** Decodes the last exit. Byte fields are copies. */
export function decodeExit(view: RunView): Exit {
  switch (view.reason) {
    case KVM_EXIT.IO: {
      const word = view.ioWord;
      const size = ((word >>> 8) & 0xff) as 1 | 2 | 4;
      const count = view.ioCount;
      const offset = view.ioDataOffset;
      return {
        reason: 'io',
        direction: (word & 0xff) === 1 ? 'out' : 'in',
        port: word >>> 16,
        size,
        count,
        data: view.u8.slice(offset, offset + size * count),
      };
    }
    case KVM_EXIT.MMIO: {
      const length = view.mmioLength;
      return {
        reason: 'mmio',
        address: view.mmioAddress,
        length,
        write: view.mmioIsWrite,
        data: view.u8.slice(RunView.MMIO_DATA, RunView.MMIO_DATA + Math.min(length, 8)),
      };
    }
    case KVM_EXIT.HLT:
      return { reason: 'hlt' };
    case KVM_EXIT.SHUTDOWN:
      return { reason: 'shutdown' };
    case KVM_EXIT.INTR:
      return { reason: 'intr' };
    case KVM_EXIT.IRQ_WINDOW_OPEN:
      return { reason: 'irq-window-open' };
    case KVM_EXIT.DEBUG:
      return { reason: 'debug' };
    case KVM_EXIT.FAIL_ENTRY:
      return { reason: 'fail-entry', hardwareReason: view.data.getBigUint64(EXIT_UNION, true) };
    case KVM_EXIT.INTERNAL_ERROR: {
      const suberror = view.u32[UNION_WORD];
      const description = INTERNAL_ERRORS[suberror] ?? `KVM internal error ${suberror}`;
      const instruction = suberror === 1 ? instructionBytes(view) : undefined;
      return { reason: 'internal-error', suberror, description, instruction };
    }
    case KVM_EXIT.SYSTEM_EVENT: {
      const type = view.u32[UNION_WORD];
      return { reason: 'system-event', event: SYSTEM_EVENTS[type] ?? `event ${type}` };
    }
    case KVM_EXIT.HYPERCALL:
      return { reason: 'hypercall', number: view.data.getBigUint64(EXIT_UNION, true) };
    case KVM_EXIT.X86_RDMSR:
    case KVM_EXIT.X86_WRMSR:
      return {
        reason: view.reason === KVM_EXIT.X86_RDMSR ? 'rdmsr' : 'wrmsr',
        index: view.data.getUint32(EXIT_UNION + ExitMsr.offsets.index, true),
        data: view.data.getBigUint64(EXIT_UNION + ExitMsr.offsets.data, true),
        why: view.data.getUint32(EXIT_UNION + ExitMsr.offsets.reason, true),
      };
    default:
      return { reason: 'unknown', code: view.reason };
  }
}
