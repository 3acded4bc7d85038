/** Resource limits by name (getrlimit(2); asm-generic/resource.h). */

export const RLIMITS = {
  RLIMIT_CPU: 0,
  RLIMIT_FSIZE: 1,
  RLIMIT_DATA: 2,
  RLIMIT_STACK: 3,
  RLIMIT_CORE: 4,
  RLIMIT_RSS: 5,
  RLIMIT_NPROC: 6,
  RLIMIT_NOFILE: 7,
  RLIMIT_MEMLOCK: 8,
  RLIMIT_AS: 9,
  RLIMIT_LOCKS: 10,
  RLIMIT_SIGPENDING: 11,
  RLIMIT_MSGQUEUE: 12,
  RLIMIT_NICE: 13,
  RLIMIT_RTPRIO: 14,
  RLIMIT_RTTIME: 15,
} as const;

export type RlimitType = keyof typeof RLIMITS;

const names: ReadonlyMap<string, RlimitType> = new Map(
  (Object.keys(RLIMITS) as RlimitType[]).map((name) => [name, name]),
);

export function rlimitType(name: string): RlimitType | undefined {
  return names.get(name);
}

/** RLIM_INFINITY of 64-bit kernels. */
export const RLIM_INFINITY = 2n ** 64n - 1n;
