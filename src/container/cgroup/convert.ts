/**
 * OCI values, which are modelled on cgroup v1, as cgroup v2 wants them (config-linux.md, "Unified": "the runtime MAY attempt a conversion").
 * Pure arithmetic, the same as runc's and crun's, so that a limit means the same under every runtime.
 */
import { CgroupLimitError } from './errors.js';

/** cpu.shares has 2 to 262144 with 1024 as default, cpu.weight 1 to 10000 with 100: a curve through these three points. */
export function sharesToWeight(shares: number): number {
  if (shares <= 2) return 1;
  if (shares >= 262_144) return 10_000;
  const l = Math.log2(shares);
  const weight = 10 ** ((l * l + 125 * l) / 612 - 7 / 34);
  // The default must stay the default: 1024 gives 100 and a rounding error.
  return Math.ceil(weight - 1e-9);
}

/** blkio.weight 10 to 1000 to io.weight 1 to 10000, linearly. */
export function blkioWeightToIoWeight(weight: number): number {
  const bounded = Math.min(Math.max(weight, 10), 1000);
  return Math.floor(1 + ((bounded - 10) * 9999) / 990);
}

/**
 * `memory.swap` counts memory and swap together, memory.swap.max swap alone.
 *
 * @param swap as in config.json; 0 and undefined are unset, -1 is unlimited
 * @param limit memory.limit of the same request, for the difference
 * @returns bytes of swap, -1 for unlimited, undefined for "leave it"
 * @throws CgroupLimitError when the two do not fit
 */
export function swapToSwapMax(swap: number | undefined, limit: number | undefined): number | undefined {
  if (swap === undefined || swap === 0) return limit === -1 ? -1 : undefined;
  if (swap === -1 || limit === -1) return swap;
  if (limit === undefined || limit === 0)
    throw new CgroupLimitError('cannot set memory.swap without memory.limit on cgroup v2', {
      controller: 'memory',
      file: 'memory.swap.max',
      hint: 'memory.swap is memory and swap together: give memory.limit as well, so that the difference is known.',
    });
  refuseSwapBelowLimit(swap, limit);
  return swap - limit;
}

/** @throws CgroupLimitError when memory and swap together are less than memory alone */
export function refuseSwapBelowLimit(swap: number, limit: number): void {
  if (swap > 0 && swap < limit)
    throw new CgroupLimitError(`memory.swap ${swap} is less than memory.limit ${limit}`, {
      controller: 'memory',
      hint: 'memory.swap counts memory and swap together, so it is at least memory.limit; equal means no swap.',
    });
}

/**
 * cpu.max after a change of quota, period or both; the other half stays as it is.
 *
 * @param current the file's text: `max 100000`
 */
export function cpuMax(current: string, quota: number | undefined, period: number | undefined): string {
  const [oldQuota = 'max', oldPeriod = '100000'] = current.trim().split(/\s+/).filter(Boolean);
  const newQuota =
    quota === undefined || quota === 0 ? oldQuota : quota < 0 ? 'max' : Math.trunc(quota).toString();
  const newPeriod = period === undefined || period === 0 ? oldPeriod : Math.trunc(period).toString();
  return `${newQuota} ${newPeriod}`;
}
