/**
 * Checks of /dev/kvm: that it opens, its API version, what it can do, and whether hardware stands behind it (KVM API, sections 4.1
 * and 4.4).
 */
import { TvmmError } from '../../sys/errors.js';
import { hardwareExtension, judgeKvm } from '../accel.js';
import { type Check, degraded, type Finding, missing, ok } from './check.js';
import type { Host } from './host.js';

const DEVICE = '/dev/kvm';
const LAB = 'or let tvmm boot go through the lab (--accel lab)';

/** Without these no machine of tvmm starts. */
export const NEEDED_CAPABILITIES = [
  'IRQCHIP',
  'USER_MEMORY',
  'SET_TSS_ADDR',
  'EXT_CPUID',
  'MP_STATE',
  'IRQ_ROUTING',
  'IRQFD',
  'PIT2',
  'IOEVENTFD',
  'SIGNAL_MSI',
  'IMMEDIATE_EXIT',
] as const;

/** Without these a feature is missing, which the text names. */
const USEFUL_CAPABILITIES = {
  READONLY_MEM: 'read-only memory slots',
  XSAVE: 'saving AVX state',
  GET_TSC_KHZ: 'telling the guest its clock rate',
  X86_USER_SPACE_MSR: 'MSR exits to user space',
  X86_MSR_FILTER: 'filtering of MSRs',
} as const;

/** Opens KVM and hands it to `use`; a KVM that cannot be opened is the finding. */
async function withKvm(host: Host, use: (kvm: import('../../kvm/kvm.js').Kvm) => Finding): Promise<Finding> {
  // Imported here: without a working koffi the other checks still answer.
  const { Kvm } = await import('../../kvm/kvm.js');
  try {
    using kvm = Kvm.open(host.at(DEVICE));
    return use(kvm);
  } catch (error) {
    if (error instanceof TvmmError) return missing(error.message, error.hint ?? 'see the device itself');
    throw error;
  }
}

export const kvmChecks: readonly Check[] = [
  {
    id: 'kvm.device',
    title: DEVICE,
    look(host) {
      const error = host.openError(DEVICE);
      if (error === undefined) return ok('opens for reading and writing');
      const { reason } = judgeKvm('none', error);
      if (error === 'EACCES' || error === 'EPERM') {
        const fix = `usermod -aG kvm ${host.facts.user} as root, then log in again; ${LAB}`;
        return missing(reason, fix);
      }
      const module = { 'VT-x': 'kvm_intel', 'AMD-V': 'kvm_amd', none: undefined }[
        hardwareExtension(host.text('/proc/cpuinfo') ?? '')
      ];
      return missing(
        reason,
        module === undefined
          ? `the processor shows no virtualization either: see there, ${LAB}`
          : `modprobe ${module} (dmesg says when the firmware has it disabled), ${LAB}`,
      );
    },
  },
  {
    id: 'kvm.hardware',
    title: 'hardware behind KVM',
    look(host) {
      const extension = hardwareExtension(host.text('/proc/cpuinfo') ?? '');
      const verdict = judgeKvm(extension, host.openError(DEVICE));
      if (verdict.usable) return ok(verdict.reason);
      if (!verdict.software) return missing(verdict.reason, `see ${DEVICE}`);
      return degraded(
        verdict.reason,
        "nothing to do: tvmm boot goes through the lab by itself; small guests of one's own run on it with --accel kvm",
      );
    },
  },
  {
    id: 'kvm.api',
    title: 'KVM API version',
    look: (host) => withKvm(host, () => ok('12, the stable one')),
  },
  {
    id: 'kvm.capabilities',
    title: 'KVM capabilities',
    look: (host) =>
      withKvm(host, (kvm) => {
        const lacking = NEEDED_CAPABILITIES.filter((name) => kvm.capability(name) === 0);
        if (lacking.length > 0) {
          return missing(
            `lacks ${lacking.map((name) => `KVM_CAP_${name}`).join(', ')}`,
            `use a newer kernel, ${LAB}`,
          );
        }
        const limits = `up to ${kvm.capability('MAX_VCPUS')} vCPUs and ${kvm.capability('NR_MEMSLOTS')} memory slots`;
        const without = Object.entries(USEFUL_CAPABILITIES)
          .filter(([name]) => isUseful(name) && kvm.capability(name) === 0)
          .map(([, what]) => what);
        if (without.length === 0) return ok(`all that tvmm uses; ${limits}`);
        return degraded(`${limits}; without ${without.join(', ')}`, 'a newer kernel has them');
      }),
  },
];

function isUseful(name: string): name is keyof typeof USEFUL_CAPABILITIES {
  return Object.hasOwn(USEFUL_CAPABILITIES, name);
}
