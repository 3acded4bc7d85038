/** update: limits from a file, standard input or flags. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { OciResources } from '../container/cgroup/resources.js';
import { parseResources } from '../container/spec/parse.js';
import type { OciAction } from './oci.js';
import type { FlagValues } from './oci-flags.js';
import { UsageError } from './usage-error.js';

export const update: OciAction = async ({ runtime, id, values, log, surroundings: { cwd } }) => {
  for (const name of ['l3-cache-schema', 'mem-bw-schema'])
    if (values.words(name) !== undefined) throw new UsageError(`--${name}: Intel RDT cannot be updated`);
  const file = values.words('resources');
  const resources =
    file === undefined
      ? resourcesOf(values)
      : parseResources(readFileSync(file === '-' ? 0 : resolve(cwd, file), 'utf8'));
  if (resources.memory?.kernel !== undefined || resources.memory?.kernelTCP !== undefined)
    log.warn('Kernel memory settings are ignored and will be removed');
  await runtime.update(id, withoutKernelMemory(resources));
  return 0;
};

function withoutKernelMemory(resources: OciResources): OciResources {
  if (resources.memory === undefined) return resources;
  const { kernel: _, kernelTCP: __, ...memory } = resources.memory;
  return { ...resources, memory };
}

/** `linux.resources` of the flags; what was not given is not in it. @throws UsageError */
export function resourcesOf(values: FlagValues): OciResources {
  const count = (name: string) => wholeNumber(values.words(name), name);
  const size = (name: string) => bytes(values.words(name), name);
  const weight = values.integer('blkio-weight') ?? 0;
  const pids = values.integer('pids-limit');
  return {
    cpu: defined({
      shares: count('cpu-share'),
      quota: count('cpu-quota'),
      burst: count('cpu-burst'),
      period: count('cpu-period'),
      realtimeRuntime: count('cpu-rt-runtime'),
      realtimePeriod: count('cpu-rt-period'),
      cpus: values.words('cpuset-cpus'),
      mems: values.words('cpuset-mems'),
      idle: count('cpu-idle'),
    }),
    memory: defined({
      limit: size('memory'),
      reservation: size('memory-reservation'),
      swap: size('memory-swap'),
      kernel: size('kernel-memory'),
      kernelTCP: size('kernel-memory-tcp'),
    }),
    ...(weight === 0 ? {} : { blockIO: { weight } }),
    ...(pids === undefined ? {} : { pids: { limit: pids } }),
  };
}

function defined<T extends object>(object: T): { [key in keyof T]: Exclude<T[key], undefined> } {
  const entries = Object.entries(object).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [key in keyof T]: Exclude<T[key], undefined> };
}

function wholeNumber(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  if (!/^-?[0-9]{1,16}$/.test(text))
    throw new UsageError(`invalid value for ${name}: ${JSON.stringify(text)}`);
  return Number(text);
}

const UNITS = ['b', 'k', 'm', 'g', 't', 'p'];

/** `512M`, `1.5GiB`, `-1` for no limit: sizes as docker and runc write them, in powers of 1024. */
export function bytes(text: string | undefined, name: string): number | undefined {
  if (text === undefined || text === '-1') return text === undefined ? undefined : -1;
  const [, number, unit = 'b'] = /^([0-9]+(?:\.[0-9]+)?) ?([bkmgtp])?(?:i?b)?$/i.exec(text) ?? [];
  if (number === undefined)
    throw new UsageError(`invalid value for ${name}: ${JSON.stringify(text)} is no size`);
  return Math.floor(Number(number) * 1024 ** UNITS.indexOf(unit.toLowerCase()));
}
