/** `--memory`, `--cpus`, `--pids-limit`, `--ulimit` and the like to limits of config.json. Refuses what the kernel would, with the option's name. */
import type { OciBlockIO, OciDeviceRule, OciResources } from '../../cgroup/resources.js';
import { RLIM_INFINITY, rlimitType } from '../../spec/rlimits.js';
import type { OciRlimit } from '../../spec/types.js';
import { OptionError } from '../errors.js';
import type { DeviceFacts } from './devices.js';
import type { ContainerOptions } from './options.js';

const DEFAULT_PIDS_LIMIT = 4096;
/** The kernel lets no cgroup of less run anything useful; docker's lower bound. */
const MIN_MEMORY = 6 * 2 ** 20;
const CPU_PERIOD = 100_000;

/** What `update` takes as well. Absent members ask for nothing. */
export function limitsOf(
  options: Partial<
    Pick<
      ContainerOptions,
      | 'memory'
      | 'memorySwap'
      | 'memoryReservation'
      | 'cpus'
      | 'cpuShares'
      | 'cpuPeriod'
      | 'cpuQuota'
      | 'memorySwappiness'
      | 'oomKillDisable'
      | 'blkioWeight'
      | 'cpusetCpus'
      | 'cpusetMems'
      | 'pidsLimit'
    >
  >,
): OciResources {
  const { cpuPeriod, cpuQuota, memorySwappiness, oomKillDisable, blkioWeight } = options;
  const { memory, memorySwap, memoryReservation, cpus, cpuShares, cpusetCpus, cpusetMems, pidsLimit } =
    options;
  if (memory !== undefined && memory > 0 && memory < MIN_MEMORY)
    throw new OptionError('--memory', `${memory} bytes are less than the smallest limit of 6 MiB`);
  if (memorySwap !== undefined && memory === undefined)
    throw new OptionError('--memory-swap', 'needs --memory: it counts memory and swap together');
  if (memorySwap !== undefined && memorySwap > 0 && memorySwap < (memory ?? 0))
    throw new OptionError('--memory-swap', 'is less than --memory: it counts memory and swap together');
  if (memoryReservation !== undefined && memory !== undefined && memoryReservation > memory)
    throw new OptionError('--memory-reservation', 'is more than --memory');
  if (cpus !== undefined && !(cpus >= 0.01 && cpus <= 4096))
    throw new OptionError('--cpus', `${cpus} is not a number of processors from 0.01 up`);
  if (cpuShares !== undefined && !(cpuShares >= 2 && cpuShares <= 262_144))
    throw new OptionError('--cpu-shares', `${cpuShares} is not within 2 and 262144`);
  if (cpus !== undefined && (cpuPeriod !== undefined || cpuQuota !== undefined))
    throw new OptionError('--cpus', 'is --cpu-quota and --cpu-period in one: give either');
  if (cpuPeriod !== undefined && !(cpuPeriod >= 1000 && cpuPeriod <= 1_000_000))
    throw new OptionError('--cpu-period', `${cpuPeriod} is not within 1000 and 1000000 microseconds`);
  if (cpuQuota !== undefined && cpuQuota !== -1 && cpuQuota < 1000)
    throw new OptionError('--cpu-quota', `${cpuQuota} is not at least 1000 microseconds, or -1 for none`);
  if (memorySwappiness !== undefined && !(memorySwappiness >= 0 && memorySwappiness <= 100))
    throw new OptionError('--memory-swappiness', `${memorySwappiness} is not within 0 and 100`);
  if (blkioWeight !== undefined && !(blkioWeight >= 10 && blkioWeight <= 1000))
    throw new OptionError('--blkio-weight', `${blkioWeight} is not within 10 and 1000`);
  for (const [option, value] of [
    ['--cpuset-cpus', cpusetCpus],
    ['--cpuset-mems', cpusetMems],
  ] as const) {
    if (value !== undefined && !/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(value))
      throw new OptionError(option, `${JSON.stringify(value)} is no list of numbers such as 0-3,7`);
  }
  const memoryLimits = {
    ...(memory === undefined ? {} : { limit: memory }),
    ...(memorySwap === undefined ? {} : { swap: memorySwap }),
    ...(memoryReservation === undefined ? {} : { reservation: memoryReservation }),
    ...(memorySwappiness === undefined ? {} : { swappiness: memorySwappiness }),
    ...(oomKillDisable === true ? { disableOOMKiller: true } : {}),
  };
  const cpu = {
    ...(cpuShares === undefined ? {} : { shares: cpuShares }),
    ...(cpus === undefined ? {} : { quota: Math.round(cpus * CPU_PERIOD), period: CPU_PERIOD }),
    ...(cpuQuota === undefined ? {} : { quota: cpuQuota }),
    ...(cpuPeriod === undefined ? {} : { period: cpuPeriod }),
    ...(cpusetCpus === undefined ? {} : { cpus: cpusetCpus }),
    ...(cpusetMems === undefined ? {} : { mems: cpusetMems }),
  };
  return {
    ...(Object.keys(memoryLimits).length === 0 ? {} : { memory: memoryLimits }),
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    ...(blkioWeight === undefined ? {} : { blockIO: { weight: blkioWeight } }),
    // Docker writes "no limit" as 0 or -1.
    ...(pidsLimit === undefined ? {} : { pids: { limit: pidsLimit <= 0 ? -1 : pidsLimit } }),
  };
}

/** The limits of a new container: a pids limit is always among them. */
export function containerResources(
  options: ContainerOptions,
  devices: readonly OciDeviceRule[],
  facts: DeviceFacts,
): OciResources {
  const limits = limitsOf({ ...options, pidsLimit: options.pidsLimit ?? DEFAULT_PIDS_LIMIT });
  const throttle = throttles(options, facts);
  const blockIO = { ...limits.blockIO, ...throttle };
  return {
    ...limits,
    ...(Object.keys(blockIO).length === 0 ? {} : { blockIO }),
    devices: [
      { allow: options.privileged, access: 'rwm' },
      ...devices,
      ...options.deviceCgroupRule.map(deviceRule),
    ],
  };
}

/** `--device-cgroup-rule 'c 1:* rwm'`. @throws OptionError */
function deviceRule(value: string): OciDeviceRule {
  const [, type, major, minor, access] = /^([abc]) (\d+|\*):(\d+|\*) ([rwm]{1,3})$/.exec(value) ?? [];
  if (type === undefined || access === undefined)
    throw new OptionError(
      '--device-cgroup-rule',
      `${JSON.stringify(value)} is no rule`,
      "for instance 'c 10:200 rwm', or 'b 8:* r'",
    );
  return {
    allow: true,
    type,
    access,
    ...(major === '*' ? {} : { major: Number(major) }),
    ...(minor === '*' ? {} : { minor: Number(minor) }),
  };
}

const THROTTLES = [
  ['--device-read-bps', 'deviceReadBps', 'throttleReadBpsDevice'],
  ['--device-write-bps', 'deviceWriteBps', 'throttleWriteBpsDevice'],
  ['--device-read-iops', 'deviceReadIops', 'throttleReadIOPSDevice'],
  ['--device-write-iops', 'deviceWriteIops', 'throttleWriteIOPSDevice'],
] as const;
const RATE_UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** `--device-read-bps DEVICE:RATE` and its three siblings. @throws OptionError */
function throttles(options: ContainerOptions, facts: DeviceFacts): OciBlockIO {
  const found = THROTTLES.flatMap(([option, member, name]) => {
    const entries = options[member].map((value) => {
      const [, path = '', digits, unit = ''] = /^(.+):(\d+)([kmg]?)b?$/i.exec(value) ?? [];
      const rate = Number(digits) * (RATE_UNITS[unit.toLowerCase()] ?? 1);
      if (digits === undefined || rate < 1 || (option.endsWith('iops') && unit !== ''))
        throw new OptionError(option, `${JSON.stringify(value)} is not DEVICE:RATE`, '/dev/sda:10m');
      const device = facts.device(path);
      if (device?.type !== 'b') throw new OptionError(option, `${path} is no block device of this host`);
      return { major: device.major, minor: device.minor, rate };
    });
    return entries.length === 0 ? [] : [[name, entries] as const];
  });
  return Object.fromEntries(found);
}

function limitValue(option: string, text: string): bigint {
  if (text === '-1' || text === 'unlimited' || text === 'infinity') return RLIM_INFINITY;
  if (/^\d{1,19}$/.test(text)) return BigInt(text);
  throw new OptionError(option, `${JSON.stringify(text)} is no limit`);
}

/** `--ulimit NAME=SOFT[:HARD]`. @throws OptionError */
export function parseUlimits(values: readonly string[]): readonly OciRlimit[] {
  const seen = new Set<string>();
  return values.map((value) => {
    const [name = '', limits = ''] = value.split(/=(.*)/s);
    const type = rlimitType(`RLIMIT_${name.toUpperCase()}`);
    if (type === undefined)
      throw new OptionError(
        '--ulimit',
        `${JSON.stringify(name)} is no resource limit`,
        'for instance nofile=1024:4096',
      );
    if (seen.has(type)) throw new OptionError('--ulimit', `${name} is there twice`);
    seen.add(type);
    const [softText = '', hardText = softText] = limits.split(':');
    const soft = limitValue('--ulimit', softText);
    const hard = limitValue('--ulimit', hardText);
    if (soft > hard) throw new OptionError('--ulimit', `${value}: the soft limit is above the hard one`);
    return { type, soft, hard };
  });
}
