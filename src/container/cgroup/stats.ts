/**
 * Counters of a cgroup in the shape that `runc events --stats` prints (its types/events.go), whichever version they come from; the
 * network is not a matter of cgroups and is left out. Files that do not exist count zero.
 */
import { existsSync, readdirSync } from 'node:fs';
import { CgroupStatsError, cgroupHint, errnoOf } from './errors.js';
import { type CgroupFiles, FolderFiles, readOptional } from './files.js';
import {
  type BlkioEntry,
  type Pressure,
  parseBlkio,
  parseCount,
  parseCpuList,
  parseIoStat,
  parseKeyValues,
  parsePressure,
  UNLIMITED,
} from './parse.js';
import { type CgroupState, hierarchies } from './state.js';

/** Bytes; `max` is the highest ever seen. */
export interface MemoryEntry {
  limit: number;
  usage: number;
  max: number;
  failcnt: number;
}

export interface CgroupStats {
  readonly cpu: {
    /** Nanoseconds. */
    readonly usage: {
      total: number;
      percpu?: number[];
      percpu_kernel?: number[];
      percpu_user?: number[];
      kernel: number;
      user: number;
    };
    /** Times in nanoseconds. */
    readonly throttling: { periods: number; throttledPeriods: number; throttledTime: number };
    psi?: Pressure;
  };
  readonly cpuset: Readonly<Record<string, number | readonly number[]>>;
  readonly memory: {
    cache: number;
    readonly usage: MemoryEntry;
    /** Memory and swap together, on v2 as well. */
    readonly swap: MemoryEntry;
    readonly kernel: MemoryEntry;
    readonly kernelTCP: MemoryEntry;
    /** memory.stat. */
    raw: Record<string, number>;
    psi?: Pressure;
  };
  /** `limit` 0 is no limit. */
  readonly pids: { current: number; limit: number };
  readonly blkio: {
    ioServiceBytesRecursive?: BlkioEntry[];
    ioServicedRecursive?: BlkioEntry[];
    psi?: Pressure;
  };
  /** By page size. */
  readonly hugetlb: Record<string, { usage: number; max: number; failcnt: number }>;
}

const emptyEntry = (): MemoryEntry => ({ limit: 0, usage: 0, max: 0, failcnt: 0 });

/** Reads them all. @throws CgroupStatsError when the cgroup is gone */
export function readStats(state: CgroupState): CgroupStats {
  const [first] = hierarchies(state);
  if (first === undefined || !existsSync(`${first.folder}/cgroup.procs`))
    throw new CgroupStatsError(
      `there is no cgroup ${first?.folder ?? ''} any more, so it has no statistics`,
      { hint: 'The container has ended, or someone removed its cgroup.' },
    );
  const stats: CgroupStats = {
    cpu: {
      usage: { total: 0, kernel: 0, user: 0 },
      throttling: { periods: 0, throttledPeriods: 0, throttledTime: 0 },
    },
    cpuset: {},
    memory: {
      cache: 0,
      usage: emptyEntry(),
      swap: emptyEntry(),
      kernel: emptyEntry(),
      kernelTCP: emptyEntry(),
      raw: {},
    },
    pids: { current: 0, limit: 0 },
    blkio: {},
    hugetlb: {},
  };
  try {
    if (state.v2 !== undefined) fromV2(stats, new FolderFiles(state.v2.folder));
    // Where v1 has a controller, v2 has not, and what v2 knows without one (cpu.stat) v1 knows better.
    for (const [controller, { folder }] of Object.entries(state.v1))
      V1[controller]?.(stats, new FolderFiles(folder));
    return { ...stats, cpuset: cpusetStats(state) };
  } catch (cause) {
    const errno = errnoOf(cause);
    throw new CgroupStatsError(`cannot read the statistics of ${first.folder}: ${errno || String(cause)}`, {
      hint: cgroupHint(errno),
      cause,
    });
  }
}

const numbers = (text: string): number[] => text.trim().split(/\s+/).filter(Boolean).map(Number);
/** cpuacct.stat counts in USER_HZ, which is 100 on x86-64. */
const TICK_NS = 10_000_000;

const V1: Readonly<Record<string, (stats: CgroupStats, files: CgroupFiles) => void>> = {
  cpu({ cpu }, files) {
    const { nr_periods = 0, nr_throttled = 0, throttled_time = 0 } = keyValues(files, 'cpu.stat');
    Object.assign(cpu.throttling, {
      periods: nr_periods,
      throttledPeriods: nr_throttled,
      throttledTime: throttled_time,
    });
  },
  cpuacct({ cpu }, files) {
    const { user = 0, system = 0 } = keyValues(files, 'cpuacct.stat');
    cpu.usage.total = count(files, 'cpuacct.usage');
    cpu.usage.user = user * TICK_NS;
    cpu.usage.kernel = system * TICK_NS;
    cpu.usage.percpu = numbers(readOptional(files, 'cpuacct.usage_percpu') ?? '');
    // `cpu user system`, then a line for each CPU.
    const rows = (readOptional(files, 'cpuacct.usage_all') ?? '').split('\n').slice(1).map(numbers);
    const full = rows.filter((row) => row.length >= 3);
    cpu.usage.percpu_user = full.map(([, inUser = 0]) => inUser);
    cpu.usage.percpu_kernel = full.map(([, , inKernel = 0]) => inKernel);
  },
  memory({ memory }, files) {
    memory.raw = keyValues(files, 'memory.stat');
    memory.cache = memory.raw.cache ?? 0;
    for (const [entry, infix] of [
      [memory.usage, ''],
      [memory.swap, 'memsw.'],
      [memory.kernel, 'kmem.'],
      [memory.kernelTCP, 'kmem.tcp.'],
    ] as const) {
      entry.usage = count(files, `memory.${infix}usage_in_bytes`);
      entry.max = count(files, `memory.${infix}max_usage_in_bytes`);
      entry.failcnt = count(files, `memory.${infix}failcnt`);
      entry.limit = count(files, `memory.${infix}limit_in_bytes`);
    }
  },
  pids: pidsStats,
  blkio({ blkio }, files) {
    // What each scheduler counts comes first, what the throttling layer counts otherwise.
    for (const prefix of ['blkio.bfq.', 'blkio.', 'blkio.throttle.']) {
      const bytes = parseBlkio(readOptional(files, `${prefix}io_service_bytes_recursive`) ?? '');
      if (bytes.length === 0) continue;
      blkio.ioServiceBytesRecursive = bytes;
      blkio.ioServicedRecursive = parseBlkio(readOptional(files, `${prefix}io_serviced_recursive`) ?? '');
      return;
    }
  },
  hugetlb({ hugetlb }, files) {
    for (const size of pageSizes(files)) {
      const infix = files.has(`hugetlb.${size}.rsvd.usage_in_bytes`) ? `${size}.rsvd` : size;
      hugetlb[size] = {
        usage: count(files, `hugetlb.${infix}.usage_in_bytes`),
        max: count(files, `hugetlb.${infix}.max_usage_in_bytes`),
        failcnt: count(files, `hugetlb.${infix}.failcnt`),
      };
    }
  },
};

function fromV2(stats: CgroupStats, files: CgroupFiles): void {
  const { cpu, memory, blkio, hugetlb } = stats;
  const times = keyValues(files, 'cpu.stat');
  cpu.usage.total = (times.usage_usec ?? 0) * 1000;
  cpu.usage.user = (times.user_usec ?? 0) * 1000;
  cpu.usage.kernel = (times.system_usec ?? 0) * 1000;
  Object.assign(cpu.throttling, {
    periods: times.nr_periods ?? 0,
    throttledPeriods: times.nr_throttled ?? 0,
    throttledTime: (times.throttled_usec ?? 0) * 1000,
  });
  cpu.psi = pressure(files, 'cpu.pressure');
  memory.psi = pressure(files, 'memory.pressure');
  blkio.psi = pressure(files, 'io.pressure');
  memory.raw = keyValues(files, 'memory.stat');
  memory.cache = memory.raw.file ?? 0;
  const events = keyValues(files, 'memory.events');
  Object.assign(memory.usage, {
    usage: count(files, 'memory.current'),
    max: count(files, 'memory.peak'),
    limit: count(files, 'memory.max'),
    failcnt: events.max ?? 0,
  });
  const swapLimit = count(files, 'memory.swap.max');
  Object.assign(memory.swap, {
    usage: memory.usage.usage + count(files, 'memory.swap.current'),
    limit: swapLimit === UNLIMITED ? UNLIMITED : swapLimit + memory.usage.limit,
  });
  memory.kernel.usage = memory.raw.kernel ?? 0;
  memory.kernelTCP.usage = memory.raw.sock ?? 0;
  pidsStats(stats, files);
  const io = parseIoStat(readOptional(files, 'io.stat') ?? '');
  if (io.bytes.length > 0) blkio.ioServiceBytesRecursive = io.bytes;
  if (io.operations.length > 0) blkio.ioServicedRecursive = io.operations;
  for (const size of pageSizes(files)) {
    const rsvd = `hugetlb.${size}.rsvd.current`;
    hugetlb[size] = {
      usage: count(files, files.has(rsvd) ? rsvd : `hugetlb.${size}.current`),
      max: 0,
      failcnt: keyValues(files, `hugetlb.${size}.events`).max ?? 0,
    };
  }
}

function pidsStats({ pids }: CgroupStats, files: CgroupFiles): void {
  const limit = count(files, 'pids.max');
  pids.limit = limit === UNLIMITED ? 0 : limit;
  const current = readOptional(files, 'pids.current') ?? '';
  // Without the controller the list tells how many there are.
  pids.current =
    current === ''
      ? (readOptional(files, 'cgroup.procs') ?? '').split('\n').filter(Boolean).length
      : parseCount(current);
}

const CPUSET_FLAGS = [
  'cpu_exclusive',
  'mem_hardwall',
  'mem_exclusive',
  'memory_migrate',
  'memory_spread_page',
  'memory_spread_slab',
  'memory_pressure',
  'sched_load_balance',
  'sched_relax_domain_level',
];

/** v1 only, as in runc; v2 tells the two lists. */
function cpusetStats({ v1, v2 }: CgroupState): CgroupStats['cpuset'] {
  const folder = v1.cpuset?.folder;
  const files = new FolderFiles(folder ?? v2?.folder ?? '/');
  const suffix = folder === undefined ? '.effective' : '';
  const lists = ['cpus', 'mems'].map((name) => [
    name,
    parseCpuList(readOptional(files, `cpuset.${name}${suffix}`)),
  ]);
  const flags = CPUSET_FLAGS.map((name) => [
    name,
    folder === undefined ? 0 : Number(readOptional(files, `cpuset.${name}`) ?? 0),
  ]);
  return Object.fromEntries([...lists, ...flags]);
}

/** `hugetlb.2MB.current` and its like tell which sizes there are. */
function pageSizes(files: CgroupFiles): string[] {
  const names = readdirSync(files.folder).flatMap((name) => /^hugetlb\.([^.]+)\./.exec(name)?.[1] ?? []);
  return [...new Set(names)];
}

function keyValues(files: CgroupFiles, file: string): Record<string, number> {
  return parseKeyValues(readOptional(files, file) ?? '');
}

function count(files: CgroupFiles, file: string): number {
  return parseCount(readOptional(files, file));
}

function pressure(files: CgroupFiles, file: string): Pressure | undefined {
  const text = readOptional(files, file);
  return text === undefined ? undefined : parsePressure(text);
}

/** JSON text with every digit: counters beyond 2^53 would come out rounded, and 2^64 - 1 as a number that no uint64 holds. */
export function formatStats(value: unknown): string {
  if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)) {
    const whole = BigInt(value);
    return (whole >= 2n ** 64n ? 2n ** 64n - 1n : whole).toString();
  }
  if (Array.isArray(value)) return `[${value.map(formatStats).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${formatStats(member)}`).join(',')}}`;
}
