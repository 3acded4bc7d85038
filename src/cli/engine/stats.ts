/** `tvmm stats`: what containers use. */
import { totalmem } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import type { EngineContext } from '../../container/engine/context.js';
import { shortId } from '../../container/engine/names.js';
import type { ContainerRecord } from '../../container/engine/record.js';
import { formatSize } from '../units.js';
import { engine, table } from './common.js';
import { type FormatFlags, printFormatted, withFormat } from './format.js';
import { here, printOut } from './here.js';

const HELP = `
CPU is the share of one processor: 200 % is two of them. Without names all running containers are shown, anew every second; --no-stream
shows them once.

Examples:
  tvmm stats
  tvmm stats --no-stream --json web
`;

const PERIOD_MS = 1000;
/** Kernels write "no limit" as a number near 2^63. */
const UNLIMITED = 2 ** 60;

interface Sample {
  readonly record: ContainerRecord;
  readonly at: number;
  /** Nanoseconds. */
  readonly cpu: number;
  readonly memory: number;
  readonly memoryLimit: number | undefined;
  readonly pids: number;
  readonly read: number;
  readonly written: number;
}

async function sample(context: EngineContext, record: ContainerRecord): Promise<Sample | undefined> {
  try {
    const { cpu, memory, pids, blkio } = await context.runtime.stats(record.id);
    const io = (op: string) =>
      (blkio.ioServiceBytesRecursive ?? [])
        .filter((entry) => entry.op.toLowerCase() === op)
        .reduce((sum, entry) => sum + entry.value, 0);
    const { limit } = memory.usage;
    // What the kernel could drop at once is not used (docker's and free(1)'s way).
    const inactive = memory.raw.total_inactive_file ?? memory.raw.inactive_file ?? 0;
    return {
      record,
      at: performance.now(),
      cpu: cpu.usage.total,
      memory: Math.max(0, memory.usage.usage - inactive),
      memoryLimit: limit > 0 && limit < UNLIMITED ? limit : undefined,
      pids: pids.current,
      read: io('read'),
      written: io('write'),
    };
  } catch {
    // It has ended between two looks.
    return undefined;
  }
}

/** Percent of one processor between two samples. */
function load(before: Sample | undefined, now: Sample): number {
  if (before === undefined || now.at <= before.at) return 0;
  return ((now.cpu - before.cpu) / ((now.at - before.at) * 1e6)) * 100;
}

function row(before: Sample | undefined, now: Sample): string[] {
  const limit = now.memoryLimit === undefined ? '' : ` / ${formatSize(now.memoryLimit)}`;
  return [
    now.record.name,
    `${load(before, now).toFixed(1)} %`,
    `${formatSize(now.memory)}${limit}`,
    String(now.pids),
    `${formatSize(now.read)} / ${formatSize(now.written)}`,
  ];
}

function summary(before: Sample | undefined, one: Sample) {
  return {
    id: one.record.id,
    name: one.record.name,
    cpuPercent: load(before, one),
    cpuNanoseconds: one.cpu,
    memoryBytes: one.memory,
    memoryLimitBytes: one.memoryLimit,
    pids: one.pids,
    readBytes: one.read,
    writtenBytes: one.written,
  };
}

export const STATS_FIELDS = ['ID', 'Name', 'CPUPerc', 'MemUsage', 'MemPerc', 'BlockIO', 'PIDs'] as const;

/** As templates see it, with docker's names. */
function statsRow(before: Sample | undefined, one: Sample): Record<(typeof STATS_FIELDS)[number], unknown> {
  const limit = one.memoryLimit ?? totalmem();
  return {
    ID: shortId(one.record.id),
    Name: one.record.name,
    CPUPerc: `${load(before, one).toFixed(2)}%`,
    MemUsage: `${formatSize(one.memory)} / ${formatSize(limit)}`,
    MemPerc: `${((one.memory / limit) * 100).toFixed(2)}%`,
    BlockIO: `${formatSize(one.read)} / ${formatSize(one.written)}`,
    PIDs: one.pids,
  };
}

export function register(program: Command): void {
  withFormat(
    program
      .command('stats')
      .description('Show what containers use: processor, memory, processes, disk.')
      .argument('[container...]', 'names or ids; all that run without')
      .option('-a, --all', 'as it is anyway: what does not run uses nothing')
      .option('--no-trunc', 'as it is anyway')
      .option('--no-stream', 'show it once'),
    STATS_FIELDS,
  )
    .addHelpText('after', HELP)
    .action(async (words: string[], options: StatsFlags) => {
      if (options.stream) here().needOwnProcess();
      const context = await engine();
      await showStats(context, new Set(words.map((word) => context.store.resolve(word))), options);
    });
}

export interface StatsFlags extends FormatFlags {
  readonly stream: boolean;
}

/** @param wanted ids; none: all that run */
export async function showStats(
  context: EngineContext,
  wanted: ReadonlySet<string>,
  options: StatsFlags,
): Promise<void> {
  let before = new Map<string, Sample>();
  for (let first = true; ; first = false) {
    const records = context.store
      .all()
      .filter(
        ({ id, state, options: { pause } }) =>
          state === 'running' && (wanted.size === 0 ? !pause : wanted.has(id)),
      );
    const samples = (await Promise.all(records.map((record) => sample(context, record)))).filter(
      (one) => one !== undefined,
    );
    // A share of time needs two looks.
    if (!first) {
      const own = () => samples.map((one) => summary(before.get(one.record.id), one));
      const rowsOf = () => samples.map((one) => statsRow(before.get(one.record.id), one));
      if (!printFormatted(options, own, rowsOf)) {
        if (options.stream && process.stdout.isTTY) printOut('\x1b[2J\x1b[H');
        const rows = samples.map((one) => row(before.get(one.record.id), one));
        printOut(table([['NAME', 'CPU', 'MEMORY', 'PIDS', 'READ / WRITTEN'], ...rows]));
      }
      if (!options.stream) return;
    }
    before = new Map(samples.map((one) => [one.record.id, one]));
    await delay(first && !options.stream ? PERIOD_MS / 4 : PERIOD_MS);
  }
}
