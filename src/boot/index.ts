/**
 * Booting: kernels, initrds, command lines and the description of the machine for the guest (design.md section 4).
 */
export { type AcpiConfig, type AcpiTables, writeAcpi } from './acpi/write.js';
export {
  LINUX_DEFAULT_PARAMS,
  mergeCmdline,
  splitCmdline,
  type VirtioMmioParam,
  virtioMmioParam,
} from './cmdline.js';
export type { BootGdt, InitialCpuState } from './cpu-state.js';
export { CommandLineError, InitrdError, KernelError, MachineDescriptionError } from './errors.js';
export * as bootLayout from './layout.js';
export { loadKernel, parseKernel } from './load-kernel.js';
export { buildMemoryMap, type MemoryMapEntry } from './memory-map.js';
export type { BootPlan, BootProtocol, FlatOptions, LoadOptions } from './plan.js';
export type { Segment } from './segments.js';
export { type ByteSource, BytesSource, FileSource, type SourceKind } from './source.js';
