/**
 * Capabilities by name (linux/capability.h; capabilities(7)). Sets are bigints, bit n for capability n. Names that the table does not
 * have are not refused here: the specification wants a warning.
 */

/** In the order of their numbers, from 0. */
export const CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON',
  'CAP_BPF',
  'CAP_CHECKPOINT_RESTORE',
] as const;
export type Capability = (typeof CAPABILITIES)[number];

const numbers: ReadonlyMap<string, number> = new Map(CAPABILITIES.map((name, number) => [name, number]));

/** The number of a capability; undefined for a name that this table does not have. */
export function capabilityNumber(name: string): number | undefined {
  return numbers.get(name);
}

/** A set of names as bits; names that the table does not have are left out and given to `unknown`. */
export function capabilitySet(names: readonly string[], unknown: (name: string) => void = () => {}): bigint {
  let set = 0n;
  for (const name of names) {
    const number = numbers.get(name);
    if (number === undefined) unknown(name);
    else set |= 1n << BigInt(number);
  }
  return set;
}

/** The names of a set, lowest number first; numbers above the table's as `cap_41`, as capsh(1) writes them. */
export function capabilityNames(set: bigint): readonly string[] {
  const names: string[] = [];
  for (let number = 0; number < 64; number++) {
    if (((set >> BigInt(number)) & 1n) === 1n) names.push(CAPABILITIES[number] ?? `cap_${number}`);
  }
  return names;
}
