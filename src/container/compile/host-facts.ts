/** Looks at the machine for {@link HostFacts}: a few small files of /proc and /sys, read once and kept by whoever launches. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { NAMESPACE_TYPES, NAMESPACES } from '../spec/namespaces.js';
import type { HostFacts } from './context.js';

const CAP_SYS_ADMIN = 21n;
/** The newest that the table knows, where the kernel does not say. */
const LAST_CAPABILITY = 40;
/** A uid_map that maps everything to itself is the initial user namespace's. */
const WHOLE_RANGE = /^\s*0\s+0\s+4294967295\s*$/;

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** A set of capabilities from /proc/PID/status: `CapPrm:\t000001ffffffffff`. */
function capabilitySet(status: string, name: string): bigint {
  const hex = new RegExp(`^${name}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1];
  return hex === undefined ? 0n : BigInt(`0x${hex}`);
}

function effectiveId(status: string, name: 'Uid' | 'Gid'): number {
  return Number(new RegExp(`^${name}:\\s*\\d+\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
}

/** Where resctrl is mounted: `… /sys/fs/resctrl rw - resctrl resctrl rw`. */
function resctrlMount(): string | undefined {
  const line = read('/proc/self/mountinfo')
    ?.split('\n')
    .find((entry) => entry.includes(' - resctrl '));
  return line?.split(' ')[4];
}

/** @param pid the process that will launch: this one, or a client of a resident engine */
export function readHostFacts(pid: number | 'self' = 'self'): HostFacts {
  const status = read(`/proc/${pid}/status`) ?? '';
  const permitted = capabilitySet(status, 'CapPrm');
  const lastCapability = Number(read('/proc/sys/kernel/cap_last_cap') ?? LAST_CAPABILITY);
  const files: ReadonlySet<string> = new Set(existsSync('/proc/self/ns') ? readdirSync('/proc/self/ns') : []);
  const resctrl = resctrlMount();
  return {
    lastCapability: Number.isInteger(lastCapability) ? lastCapability : LAST_CAPABILITY,
    permitted,
    bounding: capabilitySet(status, 'CapBnd'),
    namespaces: NAMESPACE_TYPES.filter((type) => files.has(NAMESPACES[type].file)),
    rootless: ((permitted >> CAP_SYS_ADMIN) & 1n) === 0n,
    userNamespace: !WHOLE_RANGE.test(read(`/proc/${pid}/uid_map`) ?? ''),
    setgroupsDenied: read(`/proc/${pid}/setgroups`)?.trim() === 'deny',
    uid: effectiveId(status, 'Uid'),
    gid: effectiveId(status, 'Gid'),
    apparmor: read('/sys/module/apparmor/parameters/enabled')?.trim() === 'Y',
    selinux: existsSync('/sys/fs/selinux/enforce'),
    ...(resctrl === undefined ? {} : { resctrl }),
  };
}
