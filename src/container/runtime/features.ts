/** The features structure (features.md, features-linux.md): what this runtime knows, not what the host has. */
import {
  SECCOMP_ACTIONS,
  SECCOMP_ARCHITECTURES,
  SECCOMP_FLAGS,
  SECCOMP_OPERATORS,
} from '../seccomp/profile.js';
import { CAPABILITIES } from '../spec/capabilities.js';
import { MOUNT_OPTION_NAMES } from '../spec/mount-options.js';
import { NAMESPACE_TYPES } from '../spec/namespaces.js';
import { MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES } from '../spec/policies.js';
import { HOOK_KINDS, OCI_VERSION } from '../spec/types.js';

/** @param version of tvmm */
export function features(version: string): unknown {
  return {
    ociVersionMin: '1.0.0',
    ociVersionMax: OCI_VERSION,
    hooks: HOOK_KINDS,
    mountOptions: MOUNT_OPTION_NAMES,
    linux: {
      namespaces: [...NAMESPACE_TYPES].sort(),
      capabilities: CAPABILITIES,
      // systemd's notation of paths is understood, but systemd is not asked to make them.
      cgroup: { v1: true, v2: true, systemd: false, systemdUser: false, rdma: true },
      seccomp: {
        enabled: true,
        actions: [...SECCOMP_ACTIONS].sort(),
        operators: [...SECCOMP_OPERATORS].sort(),
        archs: [...SECCOMP_ARCHITECTURES].sort(),
        knownFlags: SECCOMP_FLAGS,
        supportedFlags: SECCOMP_FLAGS,
      },
      apparmor: { enabled: true },
      selinux: { enabled: true },
      intelRdt: { enabled: true, schemata: true, monitoring: true },
      memoryPolicy: { modes: Object.keys(MEMORY_POLICY_MODES), flags: Object.keys(MEMORY_POLICY_FLAGS) },
      mountExtensions: { idmap: { enabled: true } },
      netDevices: { enabled: true },
    },
    annotations: { 'dev.tvmm.version': version },
    potentiallyUnsafeConfigAnnotations: [],
  };
}
