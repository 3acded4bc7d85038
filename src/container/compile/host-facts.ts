/** Looks at the machine for {@link HostFacts}: a few small files of /proc and /sys, read once and kept by whoever launches. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { NAMESPACE_TYPES, NAMESPACES } from '../spec/namespaces.js';
import type { HostFacts } from './context.js';

const CAP_SYS_ADMIN = 21n;
/** The newest that the table knows, where the kernel does not say. */
const LAST_CAPABILITY = 40;

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** The fields of /proc/PID/status, each with what stands behind its name and a tab: without regular expressions, each of which V8 compiles. */
function fieldsOf(status: string): ReadonlyMap<string, readonly string[]> {
  return new Map(
    status.split('\n').map((line): [string, string[]] => {
      const [name = '', ...values] = line.split('\t');
      return [name.slice(0, -1), values];
    }),
  );
}

/** A set of capabilities: `CapPrm:\t000001ffffffffff`. */
function capabilitySet([hex]: readonly string[] = []): bigint {
  return hex === undefined ? 0n : BigInt(`0x${hex}`);
}

/** `Uid:\treal\teffective\tsaved\tfile system's`. */
function effectiveId([, id]: readonly string[] = []): number {
  return Number(id ?? 0);
}

/** A uid_map that maps everything to itself is the initial user namespace's. */
function isWholeRange(map: string): boolean {
  const words = map.trim().split(' ');
  return words.filter((word) => word !== '').join(' ') === '0 0 4294967295';
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
  const status = fieldsOf(read(`/proc/${pid}/status`) ?? '');
  const permitted = capabilitySet(status.get('CapPrm'));
  const lastCapability = Number(read('/proc/sys/kernel/cap_last_cap') ?? LAST_CAPABILITY);
  const files: ReadonlySet<string> = new Set(existsSync('/proc/self/ns') ? readdirSync('/proc/self/ns') : []);
  const resctrl = resctrlMount();
  return {
    lastCapability: Number.isInteger(lastCapability) ? lastCapability : LAST_CAPABILITY,
    permitted,
    bounding: capabilitySet(status.get('CapBnd')),
    namespaces: NAMESPACE_TYPES.filter((type) => files.has(NAMESPACES[type].file)),
    rootless: ((permitted >> CAP_SYS_ADMIN) & 1n) === 0n,
    userNamespace: !isWholeRange(read(`/proc/${pid}/uid_map`) ?? ''),
    setgroupsDenied: read(`/proc/${pid}/setgroups`)?.trim() === 'deny',
    uid: effectiveId(status.get('Uid')),
    gid: effectiveId(status.get('Gid')),
    apparmor: read('/sys/module/apparmor/parameters/enabled')?.trim() === 'Y',
    selinux: existsSync('/sys/fs/selinux/enforce'),
    ...(resctrl === undefined ? {} : { resctrl }),
  };
}
