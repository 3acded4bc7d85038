/**
 * Limits on cgroup v1 controllers (Documentation/admin-guide/cgroup-v1): which file takes which field of `linux.resources`, and in which
 * order where the kernel checks one against another. Zero is unset, as in every OCI runtime. Devices are devices-v1.ts.
 */
import { refuseSwapBelowLimit } from './convert.js';
import { CgroupLimitError, errnoOf } from './errors.js';
import { type CgroupFiles, decimal, readOptional, settingError, writeSetting } from './files.js';
import type {
  OciBlockIO,
  OciCpu,
  OciHugepageLimit,
  OciMemory,
  OciNetworkResources,
  OciPids,
  OciRdma,
} from './resources.js';

/** Undefined and zero are unset. */
export function given(value: number | undefined): number | undefined {
  return value === 0 ? undefined : value;
}

export function memoryV1(files: CgroupFiles, memory: OciMemory): void {
  const set = (field: keyof OciMemory, file: string, value: string) =>
    writeSetting(files, { controller: 'memory', field: `memory.${field}` }, file, value);
  limitAndSwap(files, memory);
  const reservation = given(memory.reservation);
  if (reservation !== undefined) set('reservation', 'memory.soft_limit_in_bytes', decimal(reservation));
  for (const [field, file] of [
    ['kernel', 'memory.kmem.limit_in_bytes'],
    ['kernelTCP', 'memory.kmem.tcp.limit_in_bytes'],
  ] as const) {
    const value = given(memory[field]);
    // Newer kernels have no such limit: "unlimited" is then what there is.
    if (value !== undefined && !(value === -1 && !files.has(file))) set(field, file, decimal(value));
  }
  if (memory.swappiness !== undefined) {
    if (memory.swappiness > 100)
      throw new CgroupLimitError(`memory.swappiness ${memory.swappiness} is not in 0 to 100`, {
        controller: 'memory',
      });
    set('swappiness', 'memory.swappiness', decimal(memory.swappiness));
  }
  if (
    memory.useHierarchy !== undefined &&
    readOptional(files, 'memory.use_hierarchy')?.trim() !== (memory.useHierarchy ? '1' : '0')
  )
    set('useHierarchy', 'memory.use_hierarchy', memory.useHierarchy ? '1' : '0');
  if (memory.disableOOMKiller !== undefined) {
    const now = /^oom_kill_disable 1$/m.test(readOptional(files, 'memory.oom_control') ?? '');
    if (now !== memory.disableOOMKiller)
      set('disableOOMKiller', 'memory.oom_control', memory.disableOOMKiller ? '1' : '0');
  }
}

/** At every moment memory.memsw.limit_in_bytes must be at least memory.limit_in_bytes: what grows is written first. */
function limitAndSwap(files: CgroupFiles, memory: OciMemory): void {
  const SWAP = 'memory.memsw.limit_in_bytes';
  const limit = given(memory.limit);
  let swap = given(memory.swap);
  if (limit === -1 && swap === undefined) swap = -1;
  // Without swap accounting there is nothing to lift.
  if (swap === -1 && !files.has(SWAP)) swap = undefined;
  if (limit !== undefined && swap !== undefined) refuseSwapBelowLimit(swap, limit);
  const setLimit = () => {
    if (limit !== undefined) memoryLimit(files, limit);
  };
  const setSwap = () => {
    if (swap !== undefined)
      writeSetting(files, { controller: 'memory', field: 'memory.swap' }, SWAP, decimal(swap));
  };
  const now = Number(readOptional(files, 'memory.limit_in_bytes') ?? 0);
  if (swap === -1 || (swap !== undefined && now < swap)) {
    setSwap();
    setLimit();
  } else {
    setLimit();
    setSwap();
  }
}

function memoryLimit(files: CgroupFiles, limit: number): void {
  const file = 'memory.limit_in_bytes';
  try {
    files.write(file, decimal(limit));
  } catch (cause) {
    const usage = readOptional(files, 'memory.usage_in_bytes')?.trim();
    const swap = readOptional(files, 'memory.memsw.limit_in_bytes')?.trim();
    if (errnoOf(cause) === 'EINVAL' && swap !== undefined && Number(swap) < limit)
      throw new CgroupLimitError(
        `cannot set memory.limit to ${decimal(limit)}: memory and swap together are limited to ${swap} (EINVAL)`,
        { controller: 'memory', file, hint: 'Give memory.swap as well; it is at least memory.limit.', cause },
      );
    if (errnoOf(cause) !== 'EBUSY' || usage === undefined)
      throw settingError(files, { controller: 'memory', field: 'memory.limit' }, file, decimal(limit), cause);
    throw new CgroupLimitError(
      `cannot set memory.limit to ${decimal(limit)}: ${usage} bytes are in use in ${files.folder} (EBUSY)`,
      { controller: 'memory', file, hint: 'Ask for more than is in use, or stop processes first.', cause },
    );
  }
}

/** Realtime first, and before any process enters: a SCHED_RR process cannot enter a cgroup without realtime budget. */
export function cpuV1(files: CgroupFiles, cpu: OciCpu): void {
  const set = (field: keyof OciCpu, file: string, value: number) =>
    writeSetting(files, { controller: 'cpu', field: `cpu.${field}` }, file, decimal(value));
  pairV1(files, [
    ['realtimePeriod', 'cpu.rt_period_us', given(cpu.realtimePeriod)],
    ['realtimeRuntime', 'cpu.rt_runtime_us', given(cpu.realtimeRuntime)],
  ]);
  // A cgroup that is idle takes no shares, so idle goes off before and on after them.
  if (cpu.idle === 0) set('idle', 'cpu.idle', 0);
  const shares = given(cpu.shares);
  if (shares !== undefined) {
    set('shares', 'cpu.shares', shares);
    const now = Number(files.read('cpu.shares'));
    if (now !== shares)
      throw new CgroupLimitError(
        `cpu.shares ${decimal(shares)} is ${now < shares ? 'more' : 'less'} than the kernel takes: it set ${now}`,
        { controller: 'cpu', file: 'cpu.shares', hint: 'Shares go from 2 to 262144.' },
      );
  }
  pairV1(files, [
    ['period', 'cpu.cfs_period_us', given(cpu.period)],
    // A burst of nothing is what a kernel without bursts has.
    ['burst', 'cpu.cfs_burst_us', cpu.burst === 0 && !files.has('cpu.cfs_burst_us') ? undefined : cpu.burst],
    ['quota', 'cpu.cfs_quota_us', given(cpu.quota)],
  ]);
  if (cpu.idle !== undefined && cpu.idle !== 0) set('idle', 'cpu.idle', cpu.idle);
}

/**
 * Values that the kernel checks against each other and against the parent. The last one decides: what is refused before it (EINVAL) is
 * tried again after it.
 */
function pairV1(
  files: CgroupFiles,
  values: readonly (readonly [keyof OciCpu, string, number | undefined])[],
): void {
  const wanted = values.filter(([, , value]) => value !== undefined);
  const last = values[values.length - 1];
  const again: typeof wanted = [];
  for (const entry of wanted) {
    const [field, file, value = 0] = entry;
    try {
      files.write(file, decimal(value));
    } catch (cause) {
      if (errnoOf(cause) !== 'EINVAL' || entry === last || last?.[2] === undefined)
        throw settingError(files, { controller: 'cpu', field: `cpu.${field}` }, file, decimal(value), cause);
      again.push(entry);
    }
  }
  for (const [field, file, value = 0] of again)
    writeSetting(files, { controller: 'cpu', field: `cpu.${field}` }, file, decimal(value));
}

/** Both versions: the files have the same names. */
export function cpuset(files: CgroupFiles, cpu: OciCpu): void {
  for (const field of ['cpus', 'mems'] as const) {
    const value = cpu[field];
    if (value !== undefined && value !== '')
      writeSetting(files, { controller: 'cpuset', field: `cpu.${field}` }, `cpuset.${field}`, value);
  }
}

/** Both versions. Negative is unlimited; 0 is a limit of its own: no process may fork. */
export function pids(files: CgroupFiles, { limit }: OciPids): void {
  if (limit === undefined) return;
  // The first process must get in (by clone3 into the cgroup it would count as a fork), so nothing below 1 works.
  const value = limit < 0 ? 'max' : decimal(Math.max(limit, 1));
  writeSetting(files, { controller: 'pids', field: 'pids.limit' }, 'pids.max', value);
}

export function blkioV1(files: CgroupFiles, io: OciBlockIO): void {
  const set = (field: keyof OciBlockIO, file: string, value: string) =>
    writeSetting(files, { controller: 'blkio', field: `blockIO.${field}` }, file, value);
  // Named by the scheduler that has weights: CFQ of old kernels, BFQ since.
  const weightFile = files.has('blkio.weight') ? 'blkio.weight' : 'blkio.bfq.weight';
  const weight = given(io.weight);
  if (weight !== undefined) set('weight', weightFile, decimal(weight));
  const leafWeight = given(io.leafWeight);
  if (leafWeight !== undefined) set('leafWeight', 'blkio.leaf_weight', decimal(leafWeight));
  for (const { major, minor, weight, leafWeight } of io.weightDevice ?? []) {
    if (given(weight) !== undefined)
      set('weightDevice', `${weightFile}_device`, `${major}:${minor} ${weight}`);
    if (given(leafWeight) !== undefined)
      set('weightDevice', 'blkio.leaf_weight_device', `${major}:${minor} ${leafWeight}`);
  }
  for (const [field, file] of [
    ['throttleReadBpsDevice', 'blkio.throttle.read_bps_device'],
    ['throttleWriteBpsDevice', 'blkio.throttle.write_bps_device'],
    ['throttleReadIOPSDevice', 'blkio.throttle.read_iops_device'],
    ['throttleWriteIOPSDevice', 'blkio.throttle.write_iops_device'],
  ] as const) {
    for (const { major, minor, rate } of io[field] ?? [])
      set(field, file, `${major}:${minor} ${decimal(rate)}`);
  }
}

/** Use and, where the kernel has it, reservation are limited alike; reservations fail at mmap(2), use with SIGBUS. */
export function hugetlb(
  files: CgroupFiles,
  limits: readonly OciHugepageLimit[],
  suffix: 'limit_in_bytes' | 'max',
): void {
  for (const { pageSize, limit } of limits) {
    if (!/^[1-9][0-9]*[KMG]B$/.test(pageSize))
      throw new CgroupLimitError(`${JSON.stringify(pageSize)} is no size of a huge page`, {
        controller: 'hugetlb',
        hint: 'Huge pages are named like 64KB, 2MB, 1GB.',
      });
    const setting = { controller: 'hugetlb', field: `hugepageLimits ${pageSize}` };
    writeSetting(files, setting, `hugetlb.${pageSize}.${suffix}`, decimal(limit));
    const reserved = `hugetlb.${pageSize}.rsvd.${suffix}`;
    if (files.has(reserved)) writeSetting(files, setting, reserved, decimal(limit));
  }
}

export function networkClass(files: CgroupFiles, { classID }: OciNetworkResources): void {
  if (classID !== undefined)
    writeSetting(
      files,
      { controller: 'net_cls', field: 'network.classID' },
      'net_cls.classid',
      decimal(classID),
    );
}

export function networkPriorities(files: CgroupFiles, { priorities = [] }: OciNetworkResources): void {
  for (const { name, priority } of priorities)
    writeSetting(
      files,
      { controller: 'net_prio', field: 'network.priorities' },
      'net_prio.ifpriomap',
      `${name} ${decimal(priority)}`,
    );
}

/** Both versions: the files are the same. */
export function rdma(files: CgroupFiles, devices: Readonly<Record<string, OciRdma>>): void {
  for (const [device, { hcaHandles, hcaObjects }] of Object.entries(devices)) {
    const limits = [
      ...(hcaHandles === undefined ? [] : [`hca_handle=${decimal(hcaHandles)}`]),
      ...(hcaObjects === undefined ? [] : [`hca_object=${decimal(hcaObjects)}`]),
    ];
    if (limits.length === 0)
      throw new CgroupLimitError(`rdma ${device} has neither hcaHandles nor hcaObjects`, {
        controller: 'rdma',
      });
    writeSetting(
      files,
      { controller: 'rdma', field: `rdma ${device}` },
      'rdma.max',
      `${device} ${limits.join(' ')}`,
    );
  }
}
