/**
 * /dev/kvm itself: API version, capabilities, supported CPUID and MSRs, and the creation of VMs (Documentation/virt/kvm/api.rst, section 4).
 */
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { SystemError, TvmmError } from '../sys/errors.js';
import { FileDescriptor } from '../sys/fd.js';
import { check, ioctl, ioctlPointer, lastErrno } from '../sys/libc.js';
import { type CpuidEntry, decodeCpuid, encodeCpuid } from './cpuid-table.js';
import { KVM, KVM_CAP } from './ioctl.js';
import { KvmMsrList } from './structs.js';
import { Vm } from './vm.js';

const API_VERSION = 12;
const MAX_CPUID_ENTRIES = 256;
const MAX_MSRS = 1024;

/** /dev/kvm cannot be used; `code` says why: KVM_MISSING, KVM_NOT_PERMITTED, KVM_BUSY, KVM_API_VERSION or KVM_CAPABILITY. */
export class KvmUnavailableError extends TvmmError {}

function unavailable(path: string, cause: SystemError): KvmUnavailableError {
  switch (cause.code) {
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
      return new KvmUnavailableError(
        `${path} does not exist: this kernel offers no hardware virtualization`,
        {
          code: 'KVM_MISSING',
          hint: 'Load kvm_amd or kvm_intel and enable AMD-V or VT-x in the firmware, or use --accel lab.',
          cause,
        },
      );
    case 'EACCES':
    case 'EPERM':
      return new KvmUnavailableError(`${path} exists, but this user may not open it`, {
        code: 'KVM_NOT_PERMITTED',
        hint: 'Join the kvm group (usermod -aG kvm USER, then log in again) or run as root.',
        cause,
      });
    default:
      return new KvmUnavailableError(`${path} cannot be opened: ${cause.code}`, { code: 'KVM_BUSY', cause });
  }
}

/** The handle on /dev/kvm. */
export class Kvm implements Disposable {
  readonly #file: FileDescriptor;

  private constructor(file: FileDescriptor) {
    this.#file = file;
  }

  /**
   * Opens the device and checks its API version.
   *
   * @throws KvmUnavailableError
   */
  static open(path = '/dev/kvm'): Kvm {
    let file: FileDescriptor;
    try {
      file = FileDescriptor.open(path);
    } catch (error) {
      throw error instanceof SystemError ? unavailable(path, error) : error;
    }
    const version = ioctl(file.fd, KVM.GET_API_VERSION.request, 0);
    if (version !== API_VERSION) {
      file[Symbol.dispose]();
      const what =
        version < 0 ? 'is not KVM' : `speaks KVM API version ${version}; tvmm needs ${API_VERSION}`;
      throw new KvmUnavailableError(`${path} ${what}`, { code: 'KVM_API_VERSION' });
    }
    return new Kvm(file);
  }

  /** Whether the device node is there at all. */
  static exists(path = '/dev/kvm'): boolean {
    return existsSync(path);
  }

  get fd(): number {
    return this.#file.fd;
  }

  /** KVM_CHECK_EXTENSION: 0 where the capability is missing, else 1 or the capability's own number. */
  capability(name: keyof typeof KVM_CAP): number {
    return Math.max(0, ioctl(this.fd, KVM.CHECK_EXTENSION.request, KVM_CAP[name]));
  }

  /** @throws KvmUnavailableError that names the missing capabilities */
  requireCapabilities(names: readonly (keyof typeof KVM_CAP)[]): void {
    const missing = names.filter((name) => this.capability(name) === 0);
    if (missing.length === 0) return;
    throw new KvmUnavailableError(`this KVM lacks ${missing.map((name) => `KVM_CAP_${name}`).join(', ')}`, {
      code: 'KVM_CAPABILITY',
      hint: 'Use a newer kernel, or the lab (--accel lab).',
    });
  }

  /** Bytes to map of each vCPU's struct kvm_run. */
  vcpuMmapSize(): number {
    return check(ioctl(this.fd, KVM.GET_VCPU_MMAP_SIZE.request, 0), KVM.GET_VCPU_MMAP_SIZE.name);
  }

  /** KVM_GET_SUPPORTED_CPUID: what this host's processor and KVM can give to a guest. */
  supportedCpuid(): CpuidEntry[] {
    const table = encodeCpuid([], MAX_CPUID_ENTRIES);
    check(ioctlPointer(this.fd, KVM.GET_SUPPORTED_CPUID.request, table), KVM.GET_SUPPORTED_CPUID.name);
    return decodeCpuid(table);
  }

  /** Indices of the MSRs that KVM_GET_MSRS and KVM_SET_MSRS know. */
  msrIndices(): number[] {
    const list = new Uint32Array(1 + MAX_MSRS);
    list[0] = MAX_MSRS;
    check(ioctlPointer(this.fd, KVM.GET_MSR_INDEX_LIST.request, list), KVM.GET_MSR_INDEX_LIST.name);
    return Array.from(list.subarray(KvmMsrList.size / 4, 1 + list[0]));
  }

  /** KVM_CREATE_VM. @throws KvmUnavailableError when the kernel has no room or no hardware for it */
  createVm(): Vm {
    let fd = -1;
    let errno = 0;
    do {
      fd = ioctl(this.fd, KVM.CREATE_VM.request, 0);
      errno = fd < 0 ? lastErrno() : 0;
      // A signal met it: a profiler's, a terminal's.
    } while (errno === constants.errno.EINTR);
    if (fd < 0) {
      const cause = new SystemError(KVM.CREATE_VM.name, '', errno);
      if (errno === constants.errno.EBUSY) {
        throw new KvmUnavailableError('another hypervisor holds the processor’s virtualization extensions', {
          code: 'KVM_BUSY',
          hint: 'Stop the other hypervisor (VirtualBox, Xen…) first.',
          cause,
        });
      }
      throw cause;
    }
    return new Vm(new FileDescriptor(fd, 'the VM'));
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}
