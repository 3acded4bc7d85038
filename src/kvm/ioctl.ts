/**
 * Every KVM ioctl that tvmm uses, one line each, grouped by the descriptor it belongs to. Numbers follow from direction, type, number
 * and argument size by <asm-generic/ioctl.h>; the tests compare them with the kernel's headers.
 */
import type { StructType } from './layout.js';
import * as s from './structs.js';

const KVMIO = 0xae;
const NONE = 0;
const WRITE = 1;
const READ = 2;

/** An ioctl: its request number and the name that errors show. */
export interface Ioctl {
  readonly name: string;
  readonly request: number;
}

function ioc(name: string, direction: number, number: number, size: number): Ioctl {
  return { name, request: ((direction << 30) | (size << 16) | (KVMIO << 8) | number) >>> 0 };
}
const io = (name: string, number: number) => ioc(name, NONE, number, 0);
const iow = (name: string, number: number, type: Pick<StructType, 'size'>) =>
  ioc(name, WRITE, number, type.size);
const ior = (name: string, number: number, type: Pick<StructType, 'size'>) =>
  ioc(name, READ, number, type.size);
const iowr = (name: string, number: number, type: Pick<StructType, 'size'>) =>
  ioc(name, READ | WRITE, number, type.size);
const U64 = { size: 8 };

export const KVM = {
  // /dev/kvm
  GET_API_VERSION: io('KVM_GET_API_VERSION', 0x00),
  CREATE_VM: io('KVM_CREATE_VM', 0x01),
  GET_MSR_INDEX_LIST: iowr('KVM_GET_MSR_INDEX_LIST', 0x02, s.KvmMsrList),
  CHECK_EXTENSION: io('KVM_CHECK_EXTENSION', 0x03),
  GET_VCPU_MMAP_SIZE: io('KVM_GET_VCPU_MMAP_SIZE', 0x04),
  GET_SUPPORTED_CPUID: iowr('KVM_GET_SUPPORTED_CPUID', 0x05, s.KvmCpuid2),

  // a VM
  CREATE_VCPU: io('KVM_CREATE_VCPU', 0x41),
  GET_DIRTY_LOG: iow('KVM_GET_DIRTY_LOG', 0x42, s.KvmDirtyLog),
  SET_USER_MEMORY_REGION: iow('KVM_SET_USER_MEMORY_REGION', 0x46, s.KvmUserspaceMemoryRegion),
  SET_TSS_ADDR: io('KVM_SET_TSS_ADDR', 0x47),
  SET_IDENTITY_MAP_ADDR: iow('KVM_SET_IDENTITY_MAP_ADDR', 0x48, U64),
  CREATE_IRQCHIP: io('KVM_CREATE_IRQCHIP', 0x60),
  IRQ_LINE: iow('KVM_IRQ_LINE', 0x61, s.KvmIrqLevel),
  SET_GSI_ROUTING: iow('KVM_SET_GSI_ROUTING', 0x6a, s.KvmIrqRouting),
  IRQFD: iow('KVM_IRQFD', 0x76, s.KvmIrqfd),
  CREATE_PIT2: iow('KVM_CREATE_PIT2', 0x77, s.KvmPitConfig),
  IOEVENTFD: iow('KVM_IOEVENTFD', 0x79, s.KvmIoeventfd),
  SET_CLOCK: iow('KVM_SET_CLOCK', 0x7b, s.KvmClockData),
  GET_CLOCK: ior('KVM_GET_CLOCK', 0x7c, s.KvmClockData),
  ENABLE_CAP: iow('KVM_ENABLE_CAP', 0xa3, s.KvmEnableCap),
  SIGNAL_MSI: iow('KVM_SIGNAL_MSI', 0xa5, s.KvmMsi),
  X86_SET_MSR_FILTER: iow('KVM_X86_SET_MSR_FILTER', 0xc6, s.KvmMsrFilter),

  // a vCPU
  RUN: io('KVM_RUN', 0x80),
  GET_REGS: ior('KVM_GET_REGS', 0x81, s.KvmRegs),
  SET_REGS: iow('KVM_SET_REGS', 0x82, s.KvmRegs),
  GET_SREGS: ior('KVM_GET_SREGS', 0x83, s.KvmSregs),
  SET_SREGS: iow('KVM_SET_SREGS', 0x84, s.KvmSregs),
  TRANSLATE: iowr('KVM_TRANSLATE', 0x85, s.KvmTranslation),
  GET_MSRS: iowr('KVM_GET_MSRS', 0x88, s.KvmMsrs),
  SET_MSRS: iow('KVM_SET_MSRS', 0x89, s.KvmMsrs),
  GET_FPU: ior('KVM_GET_FPU', 0x8c, s.KvmFpu),
  SET_FPU: iow('KVM_SET_FPU', 0x8d, s.KvmFpu),
  GET_LAPIC: ior('KVM_GET_LAPIC', 0x8e, s.KvmLapicState),
  SET_LAPIC: iow('KVM_SET_LAPIC', 0x8f, s.KvmLapicState),
  SET_CPUID2: iow('KVM_SET_CPUID2', 0x90, s.KvmCpuid2),
  GET_CPUID2: iowr('KVM_GET_CPUID2', 0x91, s.KvmCpuid2),
  GET_MP_STATE: ior('KVM_GET_MP_STATE', 0x98, s.KvmMpState),
  SET_MP_STATE: iow('KVM_SET_MP_STATE', 0x99, s.KvmMpState),
  NMI: io('KVM_NMI', 0x9a),
  SET_GUEST_DEBUG: iow('KVM_SET_GUEST_DEBUG', 0x9b, s.KvmGuestDebug),
  GET_VCPU_EVENTS: ior('KVM_GET_VCPU_EVENTS', 0x9f, s.KvmVcpuEvents),
  SET_VCPU_EVENTS: iow('KVM_SET_VCPU_EVENTS', 0xa0, s.KvmVcpuEvents),
  GET_DEBUGREGS: ior('KVM_GET_DEBUGREGS', 0xa1, s.KvmDebugregs),
  SET_DEBUGREGS: iow('KVM_SET_DEBUGREGS', 0xa2, s.KvmDebugregs),
  SET_TSC_KHZ: io('KVM_SET_TSC_KHZ', 0xa2),
  GET_TSC_KHZ: io('KVM_GET_TSC_KHZ', 0xa3),
  GET_XSAVE: ior('KVM_GET_XSAVE', 0xa4, s.KvmXsave),
  SET_XSAVE: iow('KVM_SET_XSAVE', 0xa5, s.KvmXsave),
  GET_XCRS: ior('KVM_GET_XCRS', 0xa6, s.KvmXcrs),
  SET_XCRS: iow('KVM_SET_XCRS', 0xa7, s.KvmXcrs),
} as const satisfies Record<string, Ioctl>;

/** KVM_CAP_* numbers of <linux/kvm.h>. */
export const KVM_CAP = {
  IRQCHIP: 0,
  HLT: 1,
  USER_MEMORY: 3,
  SET_TSS_ADDR: 4,
  EXT_CPUID: 7,
  NR_VCPUS: 9,
  NR_MEMSLOTS: 10,
  MP_STATE: 14,
  COALESCED_MMIO: 15,
  SYNC_MMU: 16,
  SET_GUEST_DEBUG: 23,
  IRQ_ROUTING: 25,
  IRQFD: 32,
  PIT2: 33,
  IOEVENTFD: 36,
  SET_IDENTITY_MAP_ADDR: 37,
  ADJUST_CLOCK: 39,
  VCPU_EVENTS: 41,
  DEBUGREGS: 50,
  XSAVE: 55,
  XCRS: 56,
  TSC_CONTROL: 60,
  GET_TSC_KHZ: 61,
  MAX_VCPUS: 66,
  SIGNAL_MSI: 77,
  READONLY_MEM: 81,
  MAX_VCPU_ID: 128,
  X2APIC_API: 129,
  IMMEDIATE_EXIT: 136,
  X86_USER_SPACE_MSR: 188,
  X86_MSR_FILTER: 189,
  EXIT_HYPERCALL: 201,
} as const;

export const KVM_MEM_LOG_DIRTY_PAGES = 1;
export const KVM_MEM_READONLY = 2;
export const KVM_IRQFD_FLAG_DEASSIGN = 1;
export const KVM_IOEVENTFD_FLAG_DATAMATCH = 1;
export const KVM_IOEVENTFD_FLAG_PIO = 2;
export const KVM_IOEVENTFD_FLAG_DEASSIGN = 4;
export const KVM_IRQ_ROUTING_IRQCHIP = 1;
export const KVM_IRQ_ROUTING_MSI = 2;
export const KVM_PIT_SPEAKER_DUMMY = 1;

/** KVM_EXIT_* reasons of <linux/kvm.h>. */
export const KVM_EXIT = {
  UNKNOWN: 0,
  EXCEPTION: 1,
  IO: 2,
  HYPERCALL: 3,
  DEBUG: 4,
  HLT: 5,
  MMIO: 6,
  IRQ_WINDOW_OPEN: 7,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  INTERNAL_ERROR: 17,
  SYSTEM_EVENT: 24,
  IOAPIC_EOI: 26,
  X86_RDMSR: 29,
  X86_WRMSR: 30,
} as const;
