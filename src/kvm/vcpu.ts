/**
 * A vCPU's descriptor: registers, CPUID, MSRs, events, and KVM_RUN over the shared `struct kvm_run` (KVM API, sections 4.10 ff. and 5).
 */
import { SystemError } from '../sys/errors.js';
import { FileDescriptor } from '../sys/fd.js';
import { check, ioctl, ioctlPointer, lastErrno } from '../sys/libc.js';
import { Mapping } from '../sys/mapping.js';
import { type CpuidEntry, encodeCpuid } from './cpuid-table.js';
import { type Ioctl, KVM } from './ioctl.js';
import { type FieldMap, type StructType, StructView } from './layout.js';
import * as s from './structs.js';

/** One model-specific register. */
export interface MsrValue {
  index: number;
  data: bigint;
}

export class Vcpu implements Disposable {
  readonly #file: FileDescriptor;
  readonly #owned: boolean;
  /** struct kvm_run and the pages behind it (PIO data, coalesced ring). */
  readonly run: Mapping;

  constructor(
    file: FileDescriptor,
    /** APIC id. */
    readonly id: number,
    mmapSize: number,
    owned = true,
  ) {
    this.#file = file;
    this.#owned = owned;
    try {
      this.run = Mapping.ofFile(file.fd, mmapSize, 0, `kvm_run of vCPU ${id}`);
    } catch (error) {
      if (owned) file[Symbol.dispose]();
      throw error;
    }
  }

  /** A handle for another thread; the descriptor stays its creator's to close. */
  static borrow(fd: number, id: number, mmapSize: number): Vcpu {
    return new Vcpu(new FileDescriptor(fd, `vCPU ${id}`), id, mmapSize, false);
  }

  get fd(): number {
    return this.#file.fd;
  }

  #call(command: Ioctl, argument: ArrayBufferView | number): number {
    const result =
      typeof argument === 'number'
        ? ioctl(this.fd, command.request, argument)
        : ioctlPointer(this.fd, command.request, argument);
    return check(result, command.name, `vCPU ${this.id}`);
  }

  #get<F extends FieldMap>(command: Ioctl, type: StructType<F>): StructView<F> {
    const view = new StructView(type);
    this.#call(command, view.bytes);
    return view;
  }

  /**
   * KVM_RUN. Returns 0 after an exit, or the errno (EINTR, EAGAIN: kicked; others mean that the vCPU cannot run).
   * Allocation-free: this is the hot path.
   */
  enter(): number {
    return ioctl(this.#file.fd, KVM.RUN.request, 0) === 0 ? 0 : lastErrno();
  }

  getRegs(): StructView<typeof s.KvmRegs.fields> {
    return this.#get(KVM.GET_REGS, s.KvmRegs);
  }
  setRegs(regs: StructView<typeof s.KvmRegs.fields>): void {
    this.#call(KVM.SET_REGS, regs.bytes);
  }
  getSregs(): StructView<typeof s.KvmSregs.fields> {
    return this.#get(KVM.GET_SREGS, s.KvmSregs);
  }
  setSregs(sregs: StructView<typeof s.KvmSregs.fields>): void {
    this.#call(KVM.SET_SREGS, sregs.bytes);
  }
  getFpu(): StructView<typeof s.KvmFpu.fields> {
    return this.#get(KVM.GET_FPU, s.KvmFpu);
  }
  setFpu(fpu: StructView<typeof s.KvmFpu.fields>): void {
    this.#call(KVM.SET_FPU, fpu.bytes);
  }
  /** The local APIC's register page, 1024 bytes. */
  getLapic(): StructView<typeof s.KvmLapicState.fields> {
    return this.#get(KVM.GET_LAPIC, s.KvmLapicState);
  }
  setLapic(lapic: StructView<typeof s.KvmLapicState.fields>): void {
    this.#call(KVM.SET_LAPIC, lapic.bytes);
  }
  /** KVM_MP_STATE_*: 0 runnable, 1 uninitialized, 3 halted. */
  getMpState(): number {
    return this.#get(KVM.GET_MP_STATE, s.KvmMpState).get('mp_state');
  }
  setMpState(state: number): void {
    this.#call(KVM.SET_MP_STATE, new StructView(s.KvmMpState).set('mp_state', state).bytes);
  }
  getDebugregs(): StructView<typeof s.KvmDebugregs.fields> {
    return this.#get(KVM.GET_DEBUGREGS, s.KvmDebugregs);
  }

  setCpuid(entries: readonly CpuidEntry[]): void {
    this.#call(KVM.SET_CPUID2, encodeCpuid(entries));
  }

  /** Reads MSRs; an index that KVM refuses ends the list there and throws. */
  getMsrs(indices: readonly number[]): MsrValue[] {
    const block = packMsrs(indices.map((index) => ({ index, data: 0n })));
    const done = this.#call(KVM.GET_MSRS, block);
    if (done !== indices.length) throw msrRefused('KVM_GET_MSRS', indices[done]);
    const view = new DataView(block.buffer);
    return indices.map((index, i) => ({
      index,
      data: view.getBigUint64(s.KvmMsrs.size + i * s.KvmMsrEntry.size + 8, true),
    }));
  }

  /** Writes MSRs in order. @throws TvmmError naming the first one that KVM refuses */
  setMsrs(values: readonly MsrValue[]): void {
    const done = this.#call(KVM.SET_MSRS, packMsrs(values));
    if (done !== values.length) throw msrRefused('KVM_SET_MSRS', values[done].index);
  }

  /** Single-stepping and breakpoints; `control` is KVM_GUESTDBG_* bits, 0 switches them off. */
  setGuestDebug(control: number): void {
    this.#call(KVM.SET_GUEST_DEBUG, new StructView(s.KvmGuestDebug).set('control', control).bytes);
  }

  /** Linear to physical in the guest's current mode; undefined where nothing is mapped. */
  translate(linearAddress: bigint): bigint | undefined {
    const view = new StructView(s.KvmTranslation).set64('linear_address', linearAddress);
    this.#call(KVM.TRANSLATE, view.bytes);
    return view.get('valid') === 0 ? undefined : view.get64('physical_address');
  }

  /** The guest's TSC frequency; 0 where KVM does not tell. */
  tscKhz(): number {
    return Math.max(0, ioctl(this.fd, KVM.GET_TSC_KHZ.request, 0));
  }

  nmi(): void {
    this.#call(KVM.NMI, 0);
  }

  [Symbol.dispose](): void {
    this.run[Symbol.dispose]();
    if (this.#owned) this.#file[Symbol.dispose]();
  }
}

function packMsrs(values: readonly MsrValue[]): Uint8Array {
  const bytes = new Uint8Array(s.KvmMsrs.size + values.length * s.KvmMsrEntry.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, values.length, true);
  values.forEach(({ index, data }, i) => {
    const at = s.KvmMsrs.size + i * s.KvmMsrEntry.size;
    view.setUint32(at, index, true);
    view.setBigUint64(at + 8, data, true);
  });
  return bytes;
}

function msrRefused(call: string, index: number): SystemError {
  return new SystemError(call, `MSR 0x${index.toString(16)}`, 22);
}
