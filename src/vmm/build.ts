/**
 * From a config to a machine that is ready to run, in the order that ARCHITECTURE.md tells: files, threads, KVM, memory, devices,
 * guest, vCPUs. Each step pushes what undoes it.
 */

import type { Worker } from 'node:worker_threads';
import { type BootPlan, loadKernel, writeAcpi } from '../boot/index.js';
import { EventfdOwner } from '../devices/context.js';
import type { MachineRequest } from '../devices/device.js';
import { StateArena } from '../devices/state.js';
import { DiskImage } from '../devices/virtio/disk-image.js';
import { Kvm } from '../kvm/kvm.js';
import type { Vcpu } from '../kvm/vcpu.js';
import type { Vm } from '../kvm/vm.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { KVM_IDENTITY_MAP, KVM_TSS, ramLayout } from '../memory/layout.js';
import type { Cleanup } from '../sys/cleanup.js';
import { VcpuControl } from '../vcpu/control.js';
import { guestCpuid } from '../vcpu/cpuid.js';
import { setBootRegisters, setCommonState } from '../vcpu/initial-state.js';
import { openBootFiles } from './boot-files.js';
import { type CompleteConfig, ConfigError } from './config.js';
import { buildDevices, type Devices, type DeviceTree, virtioCount } from './devices.js';
import { hostAffinity } from './emulated-host.js';
import { acpiConfig, kernelCmdline, memoryMap } from './platform.js';
import { type MachineView, spawnThread, threadStopper } from './threads.js';
import type { Timeline } from './timeline.js';

/** A machine's parts, ready to run. */
export interface MachineParts {
  vm: Vm;
  memory: GuestMemory;
  vcpus: Vcpu[];
  control: SharedArrayBuffer;
  /** Host CPUs of the vCPU threads; all where it is empty. */
  affinity: readonly number[];
  /** The thread of each vCPU; call once for each, when the machine starts. */
  vcpuThread: (index: number) => Worker;
  /** Starts the thread of the virtio devices; undefined where there are none. Call once, when the vCPUs have been started. */
  startIo: (() => Worker) | undefined;
  devices: Devices;
  disks: DiskImage[];
  plan: BootPlan;
  view: MachineView;
}

const NEEDED = ['USER_MEMORY', 'IMMEDIATE_EXIT'] as const;
const NEEDED_WITH_IRQCHIP = ['IRQCHIP', 'IRQFD', 'IOEVENTFD', 'IRQ_ROUTING', 'PIT2'] as const;

/** Builds everything; what it made is undone by `cleanup`, also when it throws midway. */
export function buildMachine(
  config: CompleteConfig,
  cleanup: Cleanup,
  timeline: Timeline,
  request: (request: MachineRequest) => void,
): MachineParts {
  const files = openBootFiles(config, cleanup);
  const disks = config.drives.map((drive) =>
    cleanup.use(DiskImage.open(drive.path, { readOnly: drive.readOnly })),
  );
  timeline.mark('files');

  const kvm = cleanup.use(Kvm.open(config.kvmPath));
  checkHost(kvm, config);
  const tree: DeviceTree = {
    transport: config.transport,
    irqchip: config.irqchip,
    serialFd: config.serialFd,
    disks: disks.map((disk, index) => ({ ...disk.info, id: config.drives[index].id ?? `drive${index}` })),
    ports: config.ports,
    rng: config.rng,
    blockEngine: config.blockEngine,
  };
  // The boot processor's thread loads while this one sets up the rest; the others wait until the guest runs and can use them.
  const bootWorker = spawnVcpuThread(cleanup);
  timeline.mark('thread');

  const vm = cleanup.use(kvm.createVm());
  if (vm.capability('SET_IDENTITY_MAP_ADDR') > 0) vm.setIdentityMapAddress(KVM_IDENTITY_MAP);
  if (vm.capability('SET_TSS_ADDR') > 0) vm.setTssAddress(KVM_TSS);
  if (config.irqchip) {
    vm.createIrqchip();
    vm.createPit();
  }
  timeline.mark('vm');

  const memory = cleanup.use(
    GuestMemory.create(ramLayout(config.memory), {
      backing: config.memoryBacking,
      hugePages: config.hugePages,
    }),
  );
  memory.registerWith(vm);
  timeline.mark('memory');

  const arena = new StateArena();
  const eventfds = cleanup.use(new EventfdOwner());
  const devices = buildDevices(tree, { arena, ram: memory, vm, eventfds, request, isOwner: true });
  timeline.mark('devices');

  const plan = loadGuest(config, files, memory, virtioCount(tree));
  timeline.mark('guest');

  const vcpus = createVcpus(kvm, vm, config, plan, cleanup);
  timeline.mark('vcpus');
  const startIo = virtioCount(tree) === 0 ? undefined : () => startIoThread(devices, cleanup);
  return {
    vm,
    memory,
    vcpus,
    control: VcpuControl.bufferFor(config.cpus),
    affinity: config.vcpuAffinity ?? (config.cpus > 1 ? hostAffinity() : undefined) ?? [],
    vcpuThread: (index) => (index === 0 ? bootWorker : spawnVcpuThread(cleanup)),
    startIo,
    devices,
    disks,
    plan,
    view: { tree, state: arena.buffer, eventfds: eventfds.numbers, vmFd: vm.fd, ram: memory.ranges },
  };
}

function checkHost(kvm: Kvm, config: CompleteConfig): void {
  kvm.requireCapabilities(config.irqchip ? [...NEEDED, ...NEEDED_WITH_IRQCHIP] : NEEDED);
  const most = kvm.capability('MAX_VCPUS') || kvm.capability('NR_VCPUS') || 4;
  if (config.cpus > most) {
    throw new ConfigError(`${config.cpus} vCPUs are more than this KVM gives to one machine (${most})`, {
      code: 'CPUS',
      hint: `Use --cpus ${most} or fewer.`,
    });
  }
}

/** A vCPU's thread. One that was started ends with its vCPU. */
function spawnVcpuThread(cleanup: Cleanup): Worker {
  const worker = spawnThread('vcpu-thread');
  cleanup.defer(threadStopper(worker, () => {}));
  return worker;
}

/** A guest reaches its drivers long after its first instruction: this thread must not hold that up. */
function startIoThread(devices: Devices, cleanup: Cleanup): Worker {
  const worker = spawnThread('io-thread');
  cleanup.defer(threadStopper(worker, () => devices.io.request('stopped')));
  return worker;
}

function loadGuest(
  config: CompleteConfig,
  files: ReturnType<typeof openBootFiles>,
  memory: GuestMemory,
  virtio: number,
): BootPlan {
  const mmioDevices = config.transport === 'mmio' ? virtio : 0;
  const flat = config.flat;
  const acpiRsdp = flat === undefined ? writeAcpi(memory, acpiConfig(config, mmioDevices)).rsdp : 0;
  return loadKernel(memory, {
    kernel: files.kernel,
    initrd: files.initrd,
    cmdline: flat === undefined ? kernelCmdline(config, mmioDevices) : config.cmdline,
    protocol: flat === undefined ? config.protocol : 'flat',
    flat,
    acpiRsdp,
    memoryMap: memoryMap(config, memory.ranges),
    ramIsZero: true,
  });
}

function createVcpus(kvm: Kvm, vm: Vm, config: CompleteConfig, plan: BootPlan, cleanup: Cleanup): Vcpu[] {
  const mmapSize = kvm.vcpuMmapSize();
  const supported = kvm.supportedCpuid();
  return Array.from({ length: config.cpus }, (_, apicId) => {
    const vcpu = cleanup.use(vm.createVcpu(apicId, mmapSize));
    vcpu.setCpuid(guestCpuid(supported, { apicId, cpus: config.cpus, mask: config.cpuMask }));
    setCommonState(vcpu, config.irqchip);
    if (apicId === 0) setBootRegisters(vcpu, plan.state);
    return vcpu;
  });
}
