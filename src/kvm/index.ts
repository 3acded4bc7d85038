/**
 * `tvmm/kvm`: typed, disposable handles on /dev/kvm, VMs and vCPUs. Knows nothing of devices.
 *
 * @example
 * ```ts
 * using kvm = Kvm.open();
 * using vm = kvm.createVm();
 * using vcpu = vm.createVcpu(0, kvm.vcpuMmapSize());
 * ```
 */
export { CPUID_SIGNIFICANT_INDEX, type CpuidEntry, decodeCpuid, encodeCpuid } from './cpuid-table.js';
export * from './ioctl.js';
export { Kvm, KvmUnavailableError } from './kvm.js';
export { type FieldMap, StructView, struct } from './layout.js';
export * from './structs.js';
export { type MsrValue, Vcpu } from './vcpu.js';
export { type IoeventSpec, type IrqRoute, type MemorySlot, Vm } from './vm.js';
