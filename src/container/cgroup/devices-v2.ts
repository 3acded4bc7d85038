/**
 * Puts the compiled device list on a cgroup v2 folder. A program that is there already (an update) is replaced in one step, so that no
 * moment is without one; on a fresh cgroup it is simply attached. Programs of parents stay in force: all of them must agree.
 */
import { constants } from 'node:fs';
import {
  attachDeviceProgram,
  detachDeviceProgram,
  deviceProgramById,
  deviceProgramIds,
  loadDeviceProgram,
} from '../../sys/bpf.js';
import { FileDescriptor } from '../../sys/fd.js';
import { parseDeviceRules } from './device-rules.js';
import { compileDeviceProgram } from './devices-bpf.js';
import { CgroupDevicesError, errnoOf } from './errors.js';
import type { OciDeviceRule } from './resources.js';

/** Makes a rule list true for a cgroup v2 folder. @throws CgroupDevicesError */
export function setDevicesV2(folder: string, rules: readonly OciDeviceRule[]): void {
  const code = compileDeviceProgram(parseDeviceRules(rules));
  try {
    using cgroup = FileDescriptor.open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    using program = loadDeviceProgram(code);
    const ids = deviceProgramIds(cgroup.fd);
    // A program that is not ours to open (LSM) can only restrict further: it may stay.
    const old = ids.map(deviceProgramById).filter((one) => one !== undefined);
    try {
      const [only] = old;
      attachDeviceProgram(cgroup.fd, program.fd, old.length === 1 ? only?.fd : undefined);
      if (old.length > 1) for (const one of old) detachDeviceProgram(cgroup.fd, one.fd);
    } finally {
      for (const one of old) one[Symbol.dispose]();
    }
  } catch (cause) {
    const errno = errnoOf(cause);
    throw new CgroupDevicesError(`cannot set the allowed devices of ${folder}: ${message(cause)}`, {
      hint:
        errno === 'EPERM' || errno === 'EACCES'
          ? 'On cgroup v2 this takes bpf(2): CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, in the initial user namespace.'
          : errno === 'EINVAL'
            ? 'This kernel may lack CONFIG_CGROUP_BPF.'
            : undefined,
      cause,
    });
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
