/**
 * What a machine is made of: plain data, checked once, then shared by every thread (design.md section 3).
 */

import { MAX_HOST_CPUS } from '../sys/affinity.js';
import { TvmmError } from '../sys/errors.js';
import type { HugePages } from '../sys/mapping.js';

/** A file or bytes. */
export type Blob = string | Uint8Array;

/** A disk. */
export interface DriveConfig {
  /** Path of a raw image or a block device. */
  path: string;
  readOnly?: boolean;
  /** Name of the device; also the serial number that the guest reads (at most 20 bytes). */
  id?: string;
}

/** A named virtio-console port that is joined to host descriptors. -1 stands for none. */
export interface PortConfig {
  name: string;
  /** A console (hvc) rather than a stream. */
  console?: boolean;
  inputFd: number;
  outputFd: number;
}

/** How a flat binary starts. */
export interface FlatConfig {
  mode: 'real16' | 'protected32' | 'long64';
  /** Where it is loaded and entered; default 0x1000. */
  address?: number;
}

/** A machine, as its user describes it. */
export interface MachineConfig {
  /** Path of a vmlinux (ELF), bzImage or, with `flat`, a flat binary. */
  kernel: Blob;
  /** cpio archives, concatenated in this order. */
  initrd?: readonly Blob[];
  cmdline?: string;
  protocol?: 'auto' | 'pvh' | 'linux64';
  flat?: FlatConfig;
  /** vCPUs; default 1. */
  cpus?: number;
  /** Host CPUs that the vCPU threads keep to; default all (but see emulated-host.ts). */
  vcpuAffinity?: readonly number[];
  /** Bytes of RAM, a multiple of 4096; default 256 MiB. */
  memory?: number;
  hugePages?: HugePages;
  /** `memfd` memory can be shared with other processes. */
  memoryBacking?: 'anonymous' | 'memfd';
  /** CPU features to hide (names of `CPU_FEATURES`). */
  cpuMask?: readonly string[];
  drives?: readonly DriveConfig[];
  /** How virtio devices are attached; default pci. */
  transport?: 'pci' | 'mmio';
  /** Descriptor that the serial port writes to; default -1 (discarded). */
  serialFd?: number;
  /** virtio-console ports; without any there is no virtio-console. */
  ports?: readonly PortConfig[];
  /** A virtio entropy device; default true for kernels, false for flat binaries. */
  rng?: boolean;
  /** Block I/O through io_uring where the kernel has it, or by plain system calls. */
  blockEngine?: 'auto' | 'sync';
  /** In-kernel interrupt controllers and timer; without them HLT exits. Default true. */
  irqchip?: boolean;
  /** The KVM device. */
  kvmPath?: string;
}

/** The config with every default filled in. */
export type CompleteConfig = Required<Omit<MachineConfig, 'flat' | 'vcpuAffinity'>> &
  Pick<MachineConfig, 'flat' | 'vcpuAffinity'>;

/** A machine description that cannot be. */
export class ConfigError extends TvmmError {}

const MAX_DRIVES = 24;

/** Fills in defaults and refuses what no machine can be. What needs the host is checked when the machine is made. */
export function completeConfig(config: MachineConfig): CompleteConfig {
  const cpus = config.cpus ?? 1;
  if (!Number.isInteger(cpus) || cpus < 1) {
    throw new ConfigError(`a machine cannot have ${cpus} vCPUs`, {
      code: 'CPUS',
      hint: 'Give a whole number from 1.',
    });
  }
  const bad = config.vcpuAffinity?.find((cpu) => !Number.isInteger(cpu) || cpu < 0 || cpu >= MAX_HOST_CPUS);
  if (bad !== undefined) {
    throw new ConfigError(`no host CPU has the number ${bad}`, {
      code: 'VCPU_AFFINITY',
      hint: `Give whole numbers from 0 to ${MAX_HOST_CPUS - 1}.`,
    });
  }
  const drives = config.drives ?? [];
  if (drives.length > MAX_DRIVES) {
    throw new ConfigError(`${drives.length} drives are too many: at most ${MAX_DRIVES}`, { code: 'DRIVES' });
  }
  const ids = drives.map((drive) => drive.id).filter((id) => id !== undefined);
  const twice = ids.find((id, i) => ids.indexOf(id) !== i);
  if (twice !== undefined) throw new ConfigError(`two drives are called "${twice}"`, { code: 'DRIVES' });
  return {
    kernel: config.kernel,
    initrd: config.initrd ?? [],
    cmdline: config.cmdline ?? '',
    protocol: config.protocol ?? 'auto',
    flat: config.flat,
    cpus,
    vcpuAffinity: config.vcpuAffinity,
    memory: config.memory ?? 256 * 2 ** 20,
    hugePages: config.hugePages ?? 'transparent',
    memoryBacking: config.memoryBacking ?? 'anonymous',
    cpuMask: config.cpuMask ?? [],
    drives,
    transport: config.transport ?? 'pci',
    serialFd: config.serialFd ?? -1,
    ports: config.ports ?? [],
    rng: config.rng ?? config.flat === undefined,
    blockEngine: config.blockEngine ?? 'auto',
    irqchip: config.irqchip ?? true,
    kvmPath: config.kvmPath ?? '/dev/kvm',
  };
}
