/**
 * The structs of <linux/kvm.h> and <asm/kvm.h> (x86-64) that tvmm passes to KVM. Flexible array members are left out.
 */
import { struct } from './layout.js';

export const KvmUserspaceMemoryRegion = struct('kvm_userspace_memory_region', {
  slot: 'u32',
  flags: 'u32',
  guest_phys_addr: 'u64',
  memory_size: 'u64',
  userspace_addr: 'u64',
});

export const KvmDirtyLog = struct('kvm_dirty_log', { slot: 'u32', padding1: 'u32', dirty_bitmap: 'u64' });

export const KvmIrqLevel = struct('kvm_irq_level', { irq: 'u32', level: 'u32' });

export const KvmPitConfig = struct('kvm_pit_config', { flags: 'u32', pad: { array: 'u32', count: 15 } });

export const KvmIrqfd = struct('kvm_irqfd', {
  fd: 'u32',
  gsi: 'u32',
  flags: 'u32',
  resamplefd: 'u32',
  pad: { array: 'u8', count: 16 },
});

export const KvmIoeventfd = struct('kvm_ioeventfd', {
  datamatch: 'u64',
  addr: 'u64',
  len: 'u32',
  fd: 's32',
  flags: 'u32',
  pad: { array: 'u8', count: 36 },
});

export const KvmMsi = struct('kvm_msi', {
  address_lo: 'u32',
  address_hi: 'u32',
  data: 'u32',
  flags: 'u32',
  devid: 'u32',
  pad: { array: 'u8', count: 12 },
});

/** Header of the table; {@link KvmIrqRoutingEntry} items follow. */
export const KvmIrqRouting = struct('kvm_irq_routing', { nr: 'u32', flags: 'u32' });

/** `u` is a union: {irqchip u32, pin u32} or {address_lo, address_hi, data, devid}. */
export const KvmIrqRoutingEntry = struct('kvm_irq_routing_entry', {
  gsi: 'u32',
  type: 'u32',
  flags: 'u32',
  pad: 'u32',
  u: { array: 'u32', count: 8 },
});

export const KvmEnableCap = struct('kvm_enable_cap', {
  cap: 'u32',
  flags: 'u32',
  args: { array: 'u64', count: 4 },
  pad: { array: 'u8', count: 64 },
});

export const KvmRegs = struct('kvm_regs', {
  rax: 'u64',
  rbx: 'u64',
  rcx: 'u64',
  rdx: 'u64',
  rsi: 'u64',
  rdi: 'u64',
  rsp: 'u64',
  rbp: 'u64',
  r8: 'u64',
  r9: 'u64',
  r10: 'u64',
  r11: 'u64',
  r12: 'u64',
  r13: 'u64',
  r14: 'u64',
  r15: 'u64',
  rip: 'u64',
  rflags: 'u64',
});

export const KvmSegment = struct('kvm_segment', {
  base: 'u64',
  limit: 'u32',
  selector: 'u16',
  type: 'u8',
  present: 'u8',
  dpl: 'u8',
  db: 'u8',
  s: 'u8',
  l: 'u8',
  g: 'u8',
  avl: 'u8',
  unusable: 'u8',
  padding: 'u8',
});

export const KvmDtable = struct('kvm_dtable', {
  base: 'u64',
  limit: 'u16',
  padding: { array: 'u16', count: 3 },
});

export const KvmSregs = struct('kvm_sregs', {
  cs: KvmSegment,
  ds: KvmSegment,
  es: KvmSegment,
  fs: KvmSegment,
  gs: KvmSegment,
  ss: KvmSegment,
  tr: KvmSegment,
  ldt: KvmSegment,
  gdt: KvmDtable,
  idt: KvmDtable,
  cr0: 'u64',
  cr2: 'u64',
  cr3: 'u64',
  cr4: 'u64',
  cr8: 'u64',
  efer: 'u64',
  apic_base: 'u64',
  interrupt_bitmap: { array: 'u64', count: 4 },
});

export const KvmFpu = struct('kvm_fpu', {
  fpr: { array: 'u8', count: 128 },
  fcw: 'u16',
  fsw: 'u16',
  ftwx: 'u8',
  pad1: 'u8',
  last_opcode: 'u16',
  last_ip: 'u64',
  last_dp: 'u64',
  xmm: { array: 'u8', count: 256 },
  mxcsr: 'u32',
  pad2: 'u32',
});

/** Header; {@link KvmMsrEntry} items follow. */
export const KvmMsrs = struct('kvm_msrs', { nmsrs: 'u32', pad: 'u32' });
export const KvmMsrEntry = struct('kvm_msr_entry', { index: 'u32', reserved: 'u32', data: 'u64' });

/** Header; u32 indices follow. */
export const KvmMsrList = struct('kvm_msr_list', { nmsrs: 'u32' });

/** Header; {@link KvmCpuidEntry2} items follow. */
export const KvmCpuid2 = struct('kvm_cpuid2', { nent: 'u32', padding: 'u32' });
export const KvmCpuidEntry2 = struct('kvm_cpuid_entry2', {
  function: 'u32',
  index: 'u32',
  flags: 'u32',
  eax: 'u32',
  ebx: 'u32',
  ecx: 'u32',
  edx: 'u32',
  padding: { array: 'u32', count: 3 },
});

export const KvmLapicState = struct('kvm_lapic_state', { regs: { array: 'u8', count: 1024 } });
export const KvmMpState = struct('kvm_mp_state', { mp_state: 'u32' });

export const KvmGuestDebug = struct('kvm_guest_debug', {
  control: 'u32',
  pad: 'u32',
  /** Eight debug registers. */
  arch: { array: 'u64', count: 8 },
});

export const KvmTranslation = struct('kvm_translation', {
  linear_address: 'u64',
  physical_address: 'u64',
  valid: 'u8',
  writeable: 'u8',
  usermode: 'u8',
  pad: { array: 'u8', count: 5 },
});

export const KvmClockData = struct('kvm_clock_data', {
  clock: 'u64',
  flags: 'u32',
  pad0: 'u32',
  realtime: 'u64',
  host_tsc: 'u64',
  pad: { array: 'u32', count: 4 },
});

export const KvmVcpuEvents = struct('kvm_vcpu_events', { bytes: { array: 'u64', count: 8 } });
export const KvmDebugregs = struct('kvm_debugregs', {
  db: { array: 'u64', count: 4 },
  dr6: 'u64',
  dr7: 'u64',
  flags: 'u64',
  reserved: { array: 'u64', count: 9 },
});
export const KvmXsave = struct('kvm_xsave', { region: { array: 'u32', count: 1024 } });

const KvmXcr = struct('kvm_xcr', { xcr: 'u32', reserved: 'u32', value: 'u64' });
export const KvmXcrs = struct('kvm_xcrs', {
  nr_xcrs: 'u32',
  flags: 'u32',
  xcrs: { array: KvmXcr, count: 16 },
  padding: { array: 'u64', count: 16 },
});

export const KvmMsrFilterRange = struct('kvm_msr_filter_range', {
  flags: 'u32',
  nmsrs: 'u32',
  base: 'u32',
  bitmap: 'u64',
});
export const KvmMsrFilter = struct('kvm_msr_filter', {
  flags: 'u32',
  ranges: { array: KvmMsrFilterRange, count: 16 },
});

/** The fixed head of struct kvm_run and the start of its exit union. */
export const KvmRunHead = struct('kvm_run', {
  request_interrupt_window: 'u8',
  immediate_exit: 'u8',
  padding1: { array: 'u8', count: 6 },
  exit_reason: 'u32',
  ready_for_interrupt_injection: 'u8',
  if_flag: 'u8',
  flags: 'u16',
  cr8: 'u64',
  apic_base: 'u64',
});
