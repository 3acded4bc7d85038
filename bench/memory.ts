/**
 * What bounds checks cost: reading and writing guest memory through `GuestMemory` against a typed array over as many bytes, at the same
 * scattered addresses. Two libraries measure it, so that the figure is not the opinion of one: tinybench counts passes in wall time, Benchmark.js
 * calibrates its own loops. Neither the kernel nor a guest takes part.
 *
 *     node dist/bench/memory.js [rounds]
 *
 * A ratio is GuestMemory’s time an access over the typed array’s: the median over the
 * rounds and both libraries.
 */
import { createRequire } from 'node:module';
import type BenchmarkModule from 'benchmark';
import { Bench } from 'tinybench';
import { GuestMemory, ramLayout } from 'tvmm/memory';
import { median, table } from './support/figures.js';

const ROUNDS = Number(process.argv[2] ?? 5);
const GOAL = 2;
const SIZE = 64 * 2 ** 20;
/** Accesses in one measured call: the call itself must not count. */
const BATCH = 4096;
const WARM_MS = 50;
const MEASURED_MS = 200;

// CommonJS, and it looks for a global `define`: loaded as what it is.
const Benchmark: typeof BenchmarkModule = createRequire(import.meta.url)('benchmark');

/** Where the accesses go: aligned, scattered, the same for all contestants. */
function addresses(): Uint32Array {
  let state = 1;
  return Uint32Array.from({ length: BATCH }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state % (SIZE / 4)) * 4;
  });
}

/** Sink that keeps the compiler from dropping the loops. */
let sum = 0;

function contestants(memory: GuestMemory): Record<string, () => void> {
  const words = new Uint32Array(SIZE / 4);
  const at = addresses();
  return {
    'read, typed array': () => {
      for (let i = 0; i < BATCH; i++) sum = (sum + words[at[i] >>> 2]) | 0;
    },
    'read, GuestMemory': () => {
      for (let i = 0; i < BATCH; i++) sum = (sum + memory.readU32(at[i])) | 0;
    },
    'write, typed array': () => {
      for (let i = 0; i < BATCH; i++) words[at[i] >>> 2] = i;
    },
    'write, GuestMemory': () => {
      for (let i = 0; i < BATCH; i++) memory.writeU32(at[i], i);
    },
  };
}

/** ns an access by tinybench. */
async function byTinybench(tasks: Record<string, () => void>): Promise<Record<string, number>> {
  const bench = new Bench({ time: MEASURED_MS, warmupTime: WARM_MS });
  for (const [name, task] of Object.entries(tasks)) bench.add(name, task);
  await bench.run();
  return Object.fromEntries(
    bench.tasks.map(({ name, result }) => {
      if (!('latency' in result)) throw new Error(`${name} was not measured`);
      return [name, (result.latency.p50 * 1e6) / BATCH];
    }),
  );
}

/** ns an access by Benchmark.js. */
function byBenchmark(tasks: Record<string, () => void>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(tasks).map(([name, task]) => {
      const measured = new Benchmark(name, task, { maxTime: MEASURED_MS / 1000, minSamples: 5 }).run();
      return [name, (median(measured.stats.sample) * 1e9) / BATCH];
    }),
  );
}

async function main(): Promise<void> {
  using memory = GuestMemory.create(ramLayout(SIZE), { hugePages: 'transparent' });
  const tasks = contestants(memory);
  // Both touch every page before anything is measured.
  for (let gpa = 0; gpa < SIZE; gpa += 4096) memory.writeU32(gpa, 1);
  const samples: Record<string, number[]> = {};
  const ratios: Record<string, number[]> = { read: [], write: [] };
  for (let round = 0; round <= ROUNDS; round++) {
    for (const times of [await byTinybench(tasks), byBenchmark(tasks)]) {
      if (round === 0) continue;
      for (const [name, ns] of Object.entries(times)) samples[name] = [...(samples[name] ?? []), ns];
      for (const kind of Object.keys(ratios)) {
        ratios[kind].push(times[`${kind}, GuestMemory`] / times[`${kind}, typed array`]);
      }
    }
  }
  table(
    ['4 bytes, 64 MiB, scattered', 'ns, median', 'min'],
    Object.entries(samples).map(([name, ns]) => [name, median(ns).toFixed(2), Math.min(...ns).toFixed(2)]),
  );
  for (const [kind, values] of Object.entries(ratios)) {
    console.log(`memory-${kind} ratio ${median(values).toFixed(2)} goal ${GOAL.toFixed(2)}`);
  }
  if (Number.isNaN(sum)) throw new Error('the sum is no number');
}

await main();
