/**
 * A VM's descriptor: memory slots, the in-kernel interrupt controllers, eventfd wiring and vCPU creation (KVM API, sections 4.20
 * to 4.61). Several threads of a process may hold one: {@link Vm.borrow} gives a handle that does not close it.
 */
import { FileDescriptor } from '../sys/fd.js';
import { check, ioctl, ioctlPointer } from '../sys/libc.js';
import {
  type Ioctl,
  KVM,
  KVM_CAP,
  KVM_IOEVENTFD_FLAG_DATAMATCH,
  KVM_IOEVENTFD_FLAG_DEASSIGN,
  KVM_IOEVENTFD_FLAG_PIO,
  KVM_IRQ_ROUTING_IRQCHIP,
  KVM_IRQ_ROUTING_MSI,
  KVM_IRQFD_FLAG_DEASSIGN,
  KVM_PIT_SPEAKER_DUMMY,
} from './ioctl.js';
import { StructView } from './layout.js';
import * as s from './structs.js';
import { Vcpu } from './vcpu.js';

/** One slot of guest memory (struct kvm_userspace_memory_region). Size 0 deletes the slot. */
export interface MemorySlot {
  slot: number;
  guestPhysAddr: number;
  /** Bytes, a multiple of 4096. */
  memorySize: number;
  userspaceAddr: number;
  /** KVM_MEM_* bits. */
  flags: number;
}

/** Where a GSI leads: a pin of an in-kernel controller (0 PIC master, 1 PIC slave, 2 IOAPIC) or a message. */
export type IrqRoute =
  | { gsi: number; irqchip: 0 | 1 | 2; pin: number }
  | { gsi: number; addressLow: number; addressHigh: number; data: number };

/** A guest write that KVM turns into an eventfd signal. */
export interface IoeventSpec {
  fd: number;
  address: number;
  /** 0 (any length, PCI notify), 1, 2, 4 or 8. */
  length: number;
  pio?: boolean;
  /** Fire only when this value is written. */
  datamatch?: number;
}

export class Vm implements Disposable {
  readonly #file: FileDescriptor;
  readonly #owned: boolean;
  /** Reused by setIrqLine: no allocation on an interrupt. */
  readonly #irqLevel = new Uint32Array(2);
  /** Reused by signalMsi. */
  readonly #msi = new StructView(s.KvmMsi);

  constructor(file: FileDescriptor, owned = true) {
    this.#file = file;
    this.#owned = owned;
  }

  /** A handle on another thread's VM, which stays its owner's to close. */
  static borrow(fd: number): Vm {
    return new Vm(new FileDescriptor(fd, 'the VM'), false);
  }

  get fd(): number {
    return this.#file.fd;
  }

  #call(command: Ioctl, argument: ArrayBufferView | number, object = ''): number {
    const result =
      typeof argument === 'number'
        ? ioctl(this.fd, command.request, argument)
        : ioctlPointer(this.fd, command.request, argument);
    return check(result, command.name, object);
  }

  /** KVM_CHECK_EXTENSION on the VM. */
  capability(name: keyof typeof KVM_CAP): number {
    return Math.max(0, ioctl(this.fd, KVM.CHECK_EXTENSION.request, KVM_CAP[name]));
  }

  /** @throws SystemError `KVM_SET_USER_MEMORY_REGION slot N: …` */
  setMemorySlot(slot: MemorySlot): void {
    const region = new StructView(s.KvmUserspaceMemoryRegion)
      .set('slot', slot.slot)
      .set('flags', slot.flags)
      .set64('guest_phys_addr', slot.guestPhysAddr)
      .set64('memory_size', slot.memorySize)
      .set64('userspace_addr', slot.userspaceAddr);
    this.#call(KVM.SET_USER_MEMORY_REGION, region.bytes, `slot ${slot.slot}`);
  }

  /**
   * KVM_GET_DIRTY_LOG: fetches and clears the slot's dirty pages.
   *
   * @param bitmap one bit a 4 KiB page, lowest page first, rounded up to 8 bytes
   */
  getDirtyLog(slot: number, bitmap: { address: number }): void {
    const log = new StructView(s.KvmDirtyLog).set('slot', slot).set64('dirty_bitmap', bitmap.address);
    this.#call(KVM.GET_DIRTY_LOG, log.bytes, `slot ${slot}`);
  }

  /** Intel needs three pages below 4 GiB for real mode. */
  setTssAddress(address: number): void {
    this.#call(KVM.SET_TSS_ADDR, address);
  }

  /** Intel needs one page below 4 GiB for the real-mode identity map. */
  setIdentityMapAddress(address: number): void {
    this.#call(KVM.SET_IDENTITY_MAP_ADDR, new BigUint64Array([BigInt(address)]));
  }

  /** PICs, IOAPIC and local APICs in the kernel. */
  createIrqchip(): void {
    this.#call(KVM.CREATE_IRQCHIP, 0);
  }

  /** The i8254 in the kernel; its speaker port (0x61) too, so that reads of it need no exit. */
  createPit(): void {
    this.#call(KVM.CREATE_PIT2, new StructView(s.KvmPitConfig).set('flags', KVM_PIT_SPEAKER_DUMMY).bytes);
  }

  /** Drives a GSI's level (KVM_IRQ_LINE). Edge-triggered pins fire on the rising edge. */
  setIrqLine(gsi: number, level: 0 | 1): void {
    this.#irqLevel[0] = gsi;
    this.#irqLevel[1] = level;
    this.#call(KVM.IRQ_LINE, this.#irqLevel, `GSI ${gsi}`);
  }

  /** Replaces the whole GSI routing table. */
  setGsiRouting(routes: readonly IrqRoute[]): void {
    const header = s.KvmIrqRouting.size;
    const size = s.KvmIrqRoutingEntry.size;
    const words = new Uint32Array((header + routes.length * size) / 4);
    words[0] = routes.length;
    routes.forEach((route, i) => {
      const at = (header + i * size) / 4;
      words[at] = route.gsi;
      if ('irqchip' in route) {
        words[at + 1] = KVM_IRQ_ROUTING_IRQCHIP;
        words.set([route.irqchip, route.pin], at + 4);
      } else {
        words[at + 1] = KVM_IRQ_ROUTING_MSI;
        words.set([route.addressLow, route.addressHigh, route.data], at + 4);
      }
    });
    this.#call(KVM.SET_GSI_ROUTING, words, `${routes.length} routes`);
  }

  /** Makes a signal on the eventfd inject the GSI. */
  assignIrqfd(fd: number, gsi: number): void {
    this.#irqfd(fd, gsi, 0);
  }

  deassignIrqfd(fd: number, gsi: number): void {
    this.#irqfd(fd, gsi, KVM_IRQFD_FLAG_DEASSIGN);
  }

  #irqfd(fd: number, gsi: number, flags: number): void {
    const irqfd = new StructView(s.KvmIrqfd).set('fd', fd).set('gsi', gsi).set('flags', flags);
    this.#call(KVM.IRQFD, irqfd.bytes, `GSI ${gsi}`);
  }

  /** Makes a guest write signal the eventfd without an exit to user space. */
  assignIoeventfd(spec: IoeventSpec): void {
    this.#ioeventfd(spec, 0);
  }

  deassignIoeventfd(spec: IoeventSpec): void {
    this.#ioeventfd(spec, KVM_IOEVENTFD_FLAG_DEASSIGN);
  }

  #ioeventfd(spec: IoeventSpec, extra: number): void {
    const match = spec.datamatch === undefined ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH;
    const pio = spec.pio === true ? KVM_IOEVENTFD_FLAG_PIO : 0;
    const view = new StructView(s.KvmIoeventfd)
      .set64('datamatch', spec.datamatch ?? 0)
      .set64('addr', spec.address)
      .set('len', spec.length)
      .set('fd', spec.fd)
      .set('flags', match | pio | extra);
    this.#call(KVM.IOEVENTFD, view.bytes, `address 0x${spec.address.toString(16)}`);
  }

  /** Sends a message-signalled interrupt now. */
  signalMsi(addressLow: number, addressHigh: number, data: number): void {
    this.#msi.set('address_lo', addressLow).set('address_hi', addressHigh).set('data', data);
    this.#call(KVM.SIGNAL_MSI, this.#msi.bytes);
  }

  /** KVM_ENABLE_CAP with its first argument. */
  enableCapability(name: keyof typeof KVM_CAP, argument = 0): void {
    const view = new StructView(s.KvmEnableCap).set('cap', KVM_CAP[name]);
    new DataView(view.bytes.buffer).setBigUint64(s.KvmEnableCap.offsets.args, BigInt(argument), true);
    this.#call(KVM.ENABLE_CAP, view.bytes, `KVM_CAP_${name}`);
  }

  /** The guest's paravirtual clock, nanoseconds. */
  getClock(): bigint {
    const clock = new StructView(s.KvmClockData);
    this.#call(KVM.GET_CLOCK, clock.bytes);
    return clock.get64('clock');
  }

  /** KVM_CREATE_VCPU. @param id the APIC id */
  createVcpu(id: number, mmapSize: number): Vcpu {
    const fd = this.#call(KVM.CREATE_VCPU, id, `vCPU ${id}`);
    return new Vcpu(new FileDescriptor(fd, `vCPU ${id}`), id, mmapSize);
  }

  [Symbol.dispose](): void {
    if (this.#owned) this.#file[Symbol.dispose]();
  }
}
