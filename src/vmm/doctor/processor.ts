/**
 * Checks of the processor: hardware virtualization, nested paging, nested virtualization. Sources: /proc/cpuinfo (Intel's secondary
 * controls stand in its `vmx flags` line since Linux 5.6) and the module parameters of kvm_intel and kvm_amd.
 */
import { hardwareExtension } from '../accel.js';
import { type Check, degraded, missing, ok } from './check.js';
import type { Host } from './host.js';

const LAB = 'until then tvmm boot goes through the lab (--accel lab)';

function cpuinfo(host: Host): string {
  return host.text('/proc/cpuinfo') ?? '';
}

function flags(text: string): Set<string> {
  const words = [...text.matchAll(/^(?:vmx )?flags\s*:(.*)$/gm)].flatMap((match) =>
    (match[1] ?? '').trim().split(/\s+/),
  );
  return new Set(words);
}

/** A module parameter that is a boolean: `Y`, `1`. */
function parameter(host: Host, name: string): boolean | undefined {
  const module = hardwareExtension(cpuinfo(host)) === 'VT-x' ? 'kvm_intel' : 'kvm_amd';
  const text = host.text(`/sys/module/${module}/parameters/${name}`);
  return text === undefined ? undefined : /^[Yy1-9]/.test(text);
}

export const processorChecks: readonly Check[] = [
  {
    id: 'cpu.virtualization',
    title: 'hardware virtualization',
    look(host) {
      const text = cpuinfo(host);
      const model = /^model name\s*:\s*(.*)$/m.exec(text)?.[1] ?? 'an unnamed processor';
      const extension = hardwareExtension(text);
      if (extension !== 'none') return ok(`${extension} (${model})`);
      const inside = flags(text).has('hypervisor');
      return missing(
        `${model} shows neither vmx (VT-x) nor svm (AMD-V)${inside ? '; this is itself a virtual machine' : ''}`,
        inside
          ? `switch nested virtualization on in the hypervisor that runs this machine, or use a bare-metal one; ${LAB}`
          : `enable VT-x or AMD-V (SVM) in the firmware setup; ${LAB}`,
      );
    },
  },
  {
    id: 'cpu.nested-paging',
    title: 'nested paging (EPT, NPT)',
    look(host) {
      const text = cpuinfo(host);
      const extension = hardwareExtension(text);
      if (extension === 'none')
        return missing('needs hardware virtualization', 'see hardware virtualization');
      const intel = extension === 'VT-x';
      const name = intel ? 'EPT' : 'NPT';
      if (!flags(text).has(intel ? 'ept' : 'npt')) {
        return degraded(
          `the processor has no ${name}: KVM shadows page tables, slowly`,
          'use a newer processor',
        );
      }
      if (parameter(host, intel ? 'ept' : 'npt') === false) {
        const module = intel ? 'kvm_intel ept=1' : 'kvm_amd npt=1';
        return degraded(
          `${name} is there, but switched off in KVM`,
          `load the module with it: modprobe ${module}`,
        );
      }
      return ok(name);
    },
  },
  {
    id: 'cpu.nested-virtualization',
    title: 'nested virtualization',
    look(host) {
      const extension = hardwareExtension(cpuinfo(host));
      if (extension === 'none')
        return missing('needs hardware virtualization', 'see hardware virtualization');
      const nested = parameter(host, 'nested');
      const module = extension === 'VT-x' ? 'kvm_intel' : 'kvm_amd';
      if (nested === true) return ok('guests can be hypervisors themselves');
      return degraded(
        nested === false
          ? 'guests cannot be hypervisors themselves'
          : `${module} is not loaded, or built in without parameters`,
        `only needed for KVM in guests: modprobe -r ${module} && modprobe ${module} nested=1`,
      );
    },
  },
];
