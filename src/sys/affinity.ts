/**
 * On which host CPUs a thread may run: sched_setaffinity(2), and the lists of CPUs as the kernel writes them.
 */
import { check, schedSetaffinity } from './libc.js';

/** Bytes of a cpu_set_t (sched.h): one bit a CPU. */
const CPU_SET_BYTES = 128;
/** CPUs that a cpu_set_t can name. */
export const MAX_HOST_CPUS = CPU_SET_BYTES * 8;

/**
 * Keeps the calling thread on some host CPUs.
 *
 * @param cpus their numbers, each below {@link MAX_HOST_CPUS}
 * @throws SystemError none of them exists, or this process may use none of them
 */
export function setThreadAffinity(cpus: readonly number[]): void {
  const set = new Uint8Array(CPU_SET_BYTES);
  for (const cpu of cpus) set[cpu >> 3] |= 1 << (cpu & 7);
  check(
    schedSetaffinity(0, set.length, set),
    'sched_setaffinity',
    cpus.join(','),
    'Name CPUs that this process may use: Cpus_allowed_list in /proc/self/status.',
  );
}

/** The CPUs of a list as proc(5) writes it (`0-3,6`), ascending there and here. What is not such a list gives none. */
export function parseCpuList(list: string): number[] {
  return list
    .trim()
    .split(',')
    .flatMap((range) => {
      const match = /^(\d+)(?:-(\d+))?$/.exec(range);
      if (match === null) return [];
      const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
      if (last < first || last >= MAX_HOST_CPUS) return [];
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}
