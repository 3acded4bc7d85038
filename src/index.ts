/**
 * `tvmm`: machines, and what they are made of: boot loaders, vCPUs and their exits, buses and device state. The layers below stand by
 * themselves in `tvmm/kvm` and `tvmm/memory`.
 *
 * @example
 * ```ts
 * await using machine = await Machine.create({ kernel: 'vmlinux', cmdline: 'console=ttyS0', serialFd: 1 });
 * machine.start();
 * const end = await machine.ended;
 * ```
 */
export {
  type BootPlan,
  type ByteSource,
  BytesSource,
  CommandLineError,
  FileSource,
  type InitialCpuState,
  InitrdError,
  KernelError,
  type LoadOptions,
  loadKernel,
} from './boot/index.js';
export { Bus } from './devices/bus.js';
export type { AccessSize, BusDevice, InterruptLine, MachineRequest } from './devices/device.js';
export { StateArena, StateWindow } from './devices/state.js';
export { SystemError, TvmmError } from './sys/errors.js';
export { packageRoot } from './sys/package-root.js';
export { currentThreadId, installKickHandler, kickThread } from './sys/signal.js';
export { Request, State, VcpuControl } from './vcpu/control.js';
export { CPU_FEATURES, type CpuidPolicy, guestCpuid, parseCpuMask } from './vcpu/cpuid.js';
export { dumpVcpu, type VcpuDump } from './vcpu/dump.js';
export { decodeExit, type Exit, RunView } from './vcpu/exit.js';
export { type Buses, handleExit, Outcome } from './vcpu/handle-exit.js';
export { setBootRegisters, setCommonState } from './vcpu/initial-state.js';
export { runVcpu, type VcpuEnd } from './vcpu/run-loop.js';
export { type KvmUsability, kvmUsability } from './vmm/accel.js';
export type { Blob, DriveConfig, FlatConfig, MachineConfig, PortConfig } from './vmm/config.js';
export { ConfigError } from './vmm/config.js';
export { GuestError, MachineError } from './vmm/errors.js';
export { Machine, type MachineEnd } from './vmm/machine.js';
export { Timeline } from './vmm/timeline.js';
