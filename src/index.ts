/**
 * `tvmm`: machines. The layers below stand by themselves in `tvmm/kvm` and `tvmm/memory`.
 *
 * @example
 * ```ts
 * await using machine = await Machine.create({ kernel: 'vmlinux', cmdline: 'console=ttyS0', serialFd: 1 });
 * machine.start();
 * const end = await machine.ended;
 * ```
 */
export { SystemError, TvmmError } from './sys/errors.js';
export { Request, State, VcpuControl } from './vcpu/control.js';
export { CPU_FEATURES, type CpuidPolicy, guestCpuid, parseCpuMask } from './vcpu/cpuid.js';
export { decodeExit, type Exit, RunView } from './vcpu/exit.js';
export { type Buses, handleExit, Outcome } from './vcpu/handle-exit.js';
export { setBootRegisters, setCommonState } from './vcpu/initial-state.js';
export { runVcpu, type VcpuEnd } from './vcpu/run-loop.js';
export { type KvmUsability, kvmUsability } from './vmm/accel.js';
export type { DriveConfig, FlatConfig, MachineConfig, PortConfig } from './vmm/config.js';
export { ConfigError } from './vmm/config.js';
export { GuestError, MachineError } from './vmm/errors.js';
export { Machine, type MachineEnd } from './vmm/machine.js';
export { Timeline } from './vmm/timeline.js';
