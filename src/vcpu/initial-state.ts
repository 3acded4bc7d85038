/**
 * A vCPU's state before its first instruction: segments and control registers per entry mode, FPU, MSRs, local APIC.
 * The state itself is described by src/boot ({@link InitialCpuState}); here it becomes KVM_SET_*.
 */
import type { InitialCpuState } from '../boot/cpu-state.js';
import { StructView } from '../kvm/layout.js';
import { KvmDtable, KvmRegs, KvmSegment, type KvmSregs } from '../kvm/structs.js';
import type { Vcpu } from '../kvm/vcpu.js';
import { TvmmError } from '../sys/errors.js';

const CR0_PE = 1;
const CR0_ET = 1 << 4;
const CR0_PG = 2 ** 31;
const CR4_PAE = 1 << 5;
const EFER_LME = 1 << 8;
const EFER_LMA = 1 << 10;
const RFLAGS_RESERVED = 2;
const CODE = 0xb;
const DATA = 0x3;
const BUSY_TSS = 0xb;

const MSR_IA32_MISC_ENABLE = 0x1a0;
const MSR_MTRR_DEF_TYPE = 0x2ff;
/** Default type write-back (6), MTRRs enabled (bit 11). */
const MTRR_WRITE_BACK = 0x806n;

/** LVT registers of the local APIC (Intel SDM vol. 3A, 11.5.1) and their delivery modes. */
const APIC_LVT_LINT0 = 0x350;
const APIC_LVT_LINT1 = 0x360;
const DELIVERY_EXTINT = 7 << 8;
const DELIVERY_NMI = 4 << 8;

type Sregs = StructView<typeof KvmSregs.fields>;
type SegmentName = 'cs' | 'ds' | 'es' | 'fs' | 'gs' | 'ss' | 'tr';

/** A flat 4 GiB segment; code is 32-bit (`db`) or 64-bit (`l`). */
function setFlat(sregs: Sregs, name: SegmentName, selector: number, type: number, long: boolean): void {
  const isSystem = type === BUSY_TSS && name === 'tr';
  sregs
    .nested(name, KvmSegment)
    .set64('base', 0)
    .set('limit', isSystem ? 0x67 : 0xffff_ffff)
    .set('selector', selector)
    .set('type', type)
    .set('present', 1)
    .set('dpl', 0)
    .set('db', long || isSystem ? 0 : 1)
    .set('s', isSystem ? 0 : 1)
    .set('l', long ? 1 : 0)
    .set('g', isSystem ? 0 : 1)
    .set('unusable', 0);
}

function setSegments(sregs: Sregs, state: InitialCpuState): void {
  const data: SegmentName[] = ['ds', 'es', 'fs', 'gs', 'ss'];
  if (state.mode === 'real16') {
    for (const name of [...data, 'cs'] as const)
      sregs.nested(name, KvmSegment).set64('base', 0).set('selector', 0);
    return;
  }
  const { gdt } = state;
  if (gdt === undefined) throw new TvmmError(`${state.mode} entry needs a GDT`, { code: 'BOOT_STATE' });
  setFlat(sregs, 'cs', gdt.code, CODE, state.mode === 'long64');
  for (const name of data) setFlat(sregs, name, gdt.data, DATA, false);
  setFlat(sregs, 'tr', gdt.tss, BUSY_TSS, false);
  sregs.nested('gdt', KvmDtable).set64('base', gdt.base).set('limit', gdt.limit);
  sregs.nested('idt', KvmDtable).set64('base', 0).set('limit', 0);
  sregs.set64('cr0', CR0_PE | CR0_ET);
  if (state.mode === 'long64') {
    if (state.cr3 === undefined)
      throw new TvmmError('64-bit entry needs page tables', { code: 'BOOT_STATE' });
    sregs.set64('cr3', state.cr3).set64('cr4', CR4_PAE);
    sregs.set64('cr0', (CR0_PE | CR0_ET | CR0_PG) >>> 0).set64('efer', EFER_LME | EFER_LMA);
  }
}

/** Sets the boot processor's registers. @throws SystemError */
export function setBootRegisters(vcpu: Vcpu, state: InitialCpuState): void {
  const sregs = vcpu.getSregs();
  setSegments(sregs, state);
  vcpu.setSregs(sregs);
  const regs = new StructView(KvmRegs)
    .set64('rflags', RFLAGS_RESERVED)
    .set64('rip', state.rip)
    .set64('rsp', state.rsp ?? 0)
    .set64('rbx', state.rbx ?? 0)
    .set64('rsi', state.rsi ?? 0);
  vcpu.setRegs(regs);
}

/** What every vCPU gets: FPU in its reset state, MTRRs write-back, LINT0 ExtINT and LINT1 NMI as firmware leaves them. */
export function setCommonState(vcpu: Vcpu, hasLapic: boolean): void {
  const fpu = vcpu.getFpu();
  fpu.set('fcw', 0x37f).set('mxcsr', 0x1f80);
  vcpu.setFpu(fpu);
  // Absent on some processors and in software KVMs: the guest then finds their reset values.
  for (const msr of [
    { index: MSR_IA32_MISC_ENABLE, data: 1n },
    { index: MSR_MTRR_DEF_TYPE, data: MTRR_WRITE_BACK },
  ]) {
    try {
      vcpu.setMsrs([msr]);
    } catch {}
  }
  if (!hasLapic) return;
  const lapic = vcpu.getLapic();
  const registers = new DataView(lapic.bytes.buffer);
  registers.setUint32(APIC_LVT_LINT0, DELIVERY_EXTINT, true);
  registers.setUint32(APIC_LVT_LINT1, DELIVERY_NMI, true);
  vcpu.setLapic(lapic);
}
