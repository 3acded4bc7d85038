/**
 * Numbers behind the names of `process.scheduler`, `process.ioPriority` and `linux.memoryPolicy`: linux/sched.h (sched_setattr(2)),
 * linux/ioprio.h, linux/mempolicy.h; and lists of CPUs and memory nodes.
 */

export const SCHEDULER_POLICIES = {
  SCHED_OTHER: 0,
  SCHED_FIFO: 1,
  SCHED_RR: 2,
  SCHED_BATCH: 3,
  /** Reserved by the header; no kernel has it. */
  SCHED_ISO: 4,
  SCHED_IDLE: 5,
  SCHED_DEADLINE: 6,
} as const;
export type SchedulerPolicy = keyof typeof SCHEDULER_POLICIES;

export const SCHEDULER_FLAGS = {
  SCHED_FLAG_RESET_ON_FORK: 0x01,
  SCHED_FLAG_RECLAIM: 0x02,
  SCHED_FLAG_DL_OVERRUN: 0x04,
  SCHED_FLAG_KEEP_POLICY: 0x08,
  SCHED_FLAG_KEEP_PARAMS: 0x10,
  SCHED_FLAG_UTIL_CLAMP_MIN: 0x20,
  SCHED_FLAG_UTIL_CLAMP_MAX: 0x40,
} as const;
export type SchedulerFlag = keyof typeof SCHEDULER_FLAGS;

export const IO_PRIORITY_CLASSES = {
  IOPRIO_CLASS_RT: 1,
  IOPRIO_CLASS_BE: 2,
  IOPRIO_CLASS_IDLE: 3,
} as const;
export type IoPriorityClass = keyof typeof IO_PRIORITY_CLASSES;
/** IOPRIO_CLASS_SHIFT */
export const IO_PRIORITY_SHIFT = 13;

export const MEMORY_POLICY_MODES = {
  MPOL_DEFAULT: 0,
  MPOL_PREFERRED: 1,
  MPOL_BIND: 2,
  MPOL_INTERLEAVE: 3,
  MPOL_LOCAL: 4,
  MPOL_PREFERRED_MANY: 5,
  MPOL_WEIGHTED_INTERLEAVE: 6,
} as const;
export type MemoryPolicyMode = keyof typeof MEMORY_POLICY_MODES;

export const MEMORY_POLICY_FLAGS = {
  MPOL_F_STATIC_NODES: 1 << 15,
  MPOL_F_RELATIVE_NODES: 1 << 14,
  MPOL_F_NUMA_BALANCING: 1 << 13,
} as const;
export type MemoryPolicyFlag = keyof typeof MEMORY_POLICY_FLAGS;

/** The keys of a table, as oneOf takes them. */
export function namesOf<T extends string>(table: Readonly<Record<T, unknown>>): readonly T[] {
  return Object.keys(table) as T[];
}

/** CPUs and memory nodes that a list may name: more than any kernel is built for (CONFIG_NR_CPUS, MAX_NUMNODES). */
const MAX_LIST_NUMBER = 8191;

/** The numbers of a list as cpuset(7) writes it: `0-3,7`, spaces allowed; undefined for anything else. */
export function parseNumberList(list: string): readonly number[] | undefined {
  const numbers = new Set<number>();
  for (const part of list.split(',')) {
    const range = /^\s*([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?\s*$/.exec(part);
    if (range === null) return undefined;
    const first = Number(range[1]);
    const last = Number(range[2] ?? range[1]);
    if (first > last || last > MAX_LIST_NUMBER) return undefined;
    for (let number = first; number <= last; number++) numbers.add(number);
  }
  return [...numbers].sort((a, b) => a - b);
}

/** Numbers as the bit mask that sched_setaffinity(2) and set_mempolicy(2) take: unsigned longs, little endian. */
export function bitMask(numbers: readonly number[]): Uint8Array {
  const highest = Math.max(0, ...numbers);
  const mask = new Uint8Array((Math.floor(highest / 64) + 1) * 8);
  for (const number of numbers) {
    const at = number >> 3;
    mask[at] = (mask[at] ?? 0) | (1 << (number & 7));
  }
  return mask;
}
