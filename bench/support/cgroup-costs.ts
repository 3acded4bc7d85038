/** What a cgroup costs in each hierarchy by itself: made, entered by a process, left and removed. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { readLayout } from '../../src/container/cgroup/layout.js';
import { median, table } from './figures.js';

const NAME = `tvmm-bench-${process.pid}`;

function microseconds(work: () => void): number {
  const begin = performance.now();
  work();
  return (performance.now() - begin) * 1000;
}

/** Prints a row a hierarchy. */
export function cgroupTable(rounds: number): void {
  const { v1, v2 } = readLayout();
  const byMount = new Map<string, string[]>();
  for (const [controller, { mountPoint }] of v1)
    byMount.set(mountPoint, [...(byMount.get(mountPoint) ?? []), controller]);
  const places = [...byMount].map(([mountPoint, names]) => ({
    mountPoint,
    name: names.join(','),
    file: 'tasks',
  }));
  if (v2 !== undefined) places.push({ mountPoint: v2.mountPoint, name: 'cgroup2', file: 'cgroup.procs' });
  const rows = places.map(({ mountPoint, name, file }) => {
    const folder = join(mountPoint, NAME);
    const made: number[] = [];
    const entered: number[] = [];
    const removed: number[] = [];
    for (let round = 0; round < rounds; round++) {
      made.push(microseconds(() => mkdirSync(folder)));
      try {
        // A new cpuset has no CPUs, and then takes no process.
        if (name.split(',').includes('cpuset')) inheritCpuset(mountPoint, folder);
        entered.push(enter(join(folder, file)));
      } finally {
        removed.push(microseconds(() => rmdirSync(folder)));
      }
    }
    return [name, ...[made, entered, removed].map((all) => median(all).toFixed(0))];
  });
  table(['cgroup, us', 'make', 'enter', 'remove'], rows);
  console.log('');
}

function inheritCpuset(parent: string, folder: string): void {
  const words = ['cpuset.cpus', 'cpuset.mems'].map((file) => `cat "$1/${file}" >"$2/${file}";`).join(' ');
  spawnSync('sh', ['-c', words, 'sh', parent, folder]);
}

/** A process enters by itself, as a container's first one does, and tells how long that took. */
function enter(tasks: string): number {
  const script =
    'const {writeFileSync}=require("node:fs");writeFileSync("/dev/null","0");const b=performance.now();writeFileSync(process.argv[1],"0");console.log((performance.now()-b)*1000)';
  const { stdout } = spawnSync(process.execPath, ['-e', script, tasks], { encoding: 'utf8' });
  return Number(stdout);
}
