/**
 * Limits on cgroup v2 controllers (Documentation/admin-guide/cgroup-v2.rst). Fields that v1 has and v2 has not are refused where they ask
 * for something, as config-linux.md ("Unified") demands: "if the conversion is not possible the runtime MUST generate an error".
 */
import { given } from './apply-v1.js';
import { blkioWeightToIoWeight, cpuMax, sharesToWeight, swapToSwapMax } from './convert.js';
import { CgroupLimitError, errnoOf } from './errors.js';
import { type CgroupFiles, decimal, readOptional, settingError, writeSetting } from './files.js';
import type { OciBlockIO, OciCpu, OciMemory } from './resources.js';

function noSuchThing(controller: string, field: string): CgroupLimitError {
  return new CgroupLimitError(`cgroup v2 has nothing like ${field}`, {
    controller,
    hint: `Leave ${field} out, or use resources.unified for what cgroup v2 has.`,
  });
}

/** -1 is `max`. */
function bytesOrMax(value: number): string {
  return value < 0 ? 'max' : decimal(value);
}

export function memoryV2(files: CgroupFiles, memory: OciMemory): void {
  const set = (field: keyof OciMemory, file: string, value: string) =>
    writeSetting(files, { controller: 'memory', field: `memory.${field}` }, file, value);
  for (const field of ['kernel', 'kernelTCP'] as const) {
    const value = given(memory[field]);
    if (value !== undefined && value !== -1) throw noSuchThing('memory', `memory.${field}`);
  }
  if (memory.swappiness !== undefined) throw noSuchThing('memory', 'memory.swappiness');
  if (memory.disableOOMKiller === true) throw noSuchThing('memory', 'memory.disableOOMKiller');
  if (memory.useHierarchy === false) throw noSuchThing('memory', 'memory.useHierarchy false');

  const limit = given(memory.limit);
  const swap = swapToSwapMax(memory.swap, limit ?? limitNow(files));
  if (memory.checkBeforeUpdate === true) refuseBelowUsage(files, memory);
  // Without swap accounting no swap can be used: "none" and "as much as there is" then hold by themselves.
  if (swap !== undefined && (swap > 0 || files.has('memory.swap.max')))
    set('swap', 'memory.swap.max', bytesOrMax(swap));
  if (limit !== undefined) set('limit', 'memory.max', bytesOrMax(limit));
  const reservation = given(memory.reservation);
  if (reservation !== undefined) set('reservation', 'memory.low', bytesOrMax(reservation));
}

/** The limit that an update of swap alone leaves in force; undefined where there is none. */
function limitNow(files: CgroupFiles): number | undefined {
  const text = readOptional(files, 'memory.max')?.trim() ?? '';
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** cgroup v2 would kill to get below a new limit; checkBeforeUpdate asks for v1's refusal instead. */
function refuseBelowUsage(files: CgroupFiles, memory: OciMemory): void {
  const usage = Number(readOptional(files, 'memory.current') ?? Number.NaN);
  for (const field of ['limit', 'swap'] as const) {
    const value = memory[field] ?? 0;
    if (value > 0 && value <= usage)
      throw new CgroupLimitError(
        `cannot set memory.${field} to ${decimal(value)}: ${usage} bytes are in use in ${files.folder}`,
        {
          controller: 'memory',
          file: 'memory.max',
          hint: 'Ask for more than is in use, or leave checkBeforeUpdate out to have processes killed.',
        },
      );
  }
}

export function cpuV2(files: CgroupFiles, cpu: OciCpu): void {
  const set = (field: keyof OciCpu, file: string, value: string) =>
    writeSetting(files, { controller: 'cpu', field: `cpu.${field}` }, file, value);
  for (const field of ['realtimeRuntime', 'realtimePeriod'] as const) {
    if (given(cpu[field]) !== undefined) throw noSuchThing('cpu', `cpu.${field}`);
  }
  // A cgroup that is idle takes no weight, so idle goes off before and on after it.
  if (cpu.idle === 0 && files.has('cpu.idle')) set('idle', 'cpu.idle', '0');
  const shares = given(cpu.shares);
  if (shares !== undefined) set('shares', 'cpu.weight', decimal(sharesToWeight(shares)));
  const changesMax = given(cpu.quota) !== undefined || given(cpu.period) !== undefined;
  const burst = cpu.burst === 0 && !files.has('cpu.max.burst') ? undefined : cpu.burst;
  let burstAgain = false;
  if (burst !== undefined) {
    try {
      files.write('cpu.max.burst', decimal(burst));
    } catch (cause) {
      // A burst is checked against the quota, which may be about to change.
      if (errnoOf(cause) !== 'EINVAL' || !changesMax)
        throw settingError(
          files,
          { controller: 'cpu', field: 'cpu.burst' },
          'cpu.max.burst',
          decimal(burst),
          cause,
        );
      burstAgain = true;
    }
  }
  if (changesMax)
    set('quota', 'cpu.max', cpuMax(readOptional(files, 'cpu.max') ?? '', cpu.quota, cpu.period));
  if (burst !== undefined && burstAgain) set('burst', 'cpu.max.burst', decimal(burst));
  if (cpu.idle !== undefined && cpu.idle !== 0) set('idle', 'cpu.idle', decimal(cpu.idle));
}

export function ioV2(files: CgroupFiles, io: OciBlockIO): void {
  const set = (field: keyof OciBlockIO, file: string, value: string) =>
    writeSetting(files, { controller: 'io', field: `blockIO.${field}` }, file, value);
  if (given(io.leafWeight) !== undefined) throw noSuchThing('io', 'blockIO.leafWeight');
  // BFQ takes v1's scale, io.weight its own.
  const bfq = files.has('io.bfq.weight');
  const file = bfq ? 'io.bfq.weight' : 'io.weight';
  const scaled = (weight: number) => decimal(bfq ? weight : blkioWeightToIoWeight(weight));
  const weight = given(io.weight);
  if (weight !== undefined) set('weight', file, scaled(weight));
  for (const { major, minor, weight, leafWeight } of io.weightDevice ?? []) {
    if (given(leafWeight) !== undefined) throw noSuchThing('io', 'blockIO.weightDevice leafWeight');
    if (weight !== undefined && weight !== 0)
      set('weightDevice', file, `${major}:${minor} ${scaled(weight)}`);
  }
  for (const [field, key] of [
    ['throttleReadBpsDevice', 'rbps'],
    ['throttleWriteBpsDevice', 'wbps'],
    ['throttleReadIOPSDevice', 'riops'],
    ['throttleWriteIOPSDevice', 'wiops'],
  ] as const) {
    // A rate of 0 takes a limit away on v1; v2 says max.
    for (const { major, minor, rate } of io[field] ?? [])
      set(field, 'io.max', `${major}:${minor} ${key}=${rate === 0 ? 'max' : decimal(rate)}`);
  }
}

/**
 * resources.unified: text for files of the cgroup, line by line, since files like io.max take one line a write.
 *
 * @param available controllers of this cgroup
 */
export function unified(
  files: CgroupFiles,
  values: Readonly<Record<string, string>>,
  available: readonly string[],
): void {
  for (const [file, text] of Object.entries(values)) {
    const controller = unifiedController(file);
    if (controller !== 'cgroup' && !available.includes(controller))
      throw new CgroupLimitError(
        `cannot set unified ${file}: invalid configuration: there is no ${controller} controller in ${files.folder}`,
        { controller, file, hint: `cgroup.controllers there has: ${available.join(' ') || 'none'}.` },
      );
    for (const line of text.split('\n').filter((line) => line !== ''))
      writeSetting(files, { controller, field: `unified ${file}` }, file, line);
  }
}

/** The controller that a file of cgroup v2 belongs to. @throws CgroupLimitError for what is no such file name */
export function unifiedController(file: string): string {
  const match = /^([a-z_]+)\.[^/\0]+$/.exec(file);
  if (match?.[1] === undefined)
    throw new CgroupLimitError(`unified ${JSON.stringify(file)} is no file of a cgroup`, {
      controller: 'unified',
      hint: 'Keys are file names like memory.high or io.max.',
    });
  return match[1];
}
