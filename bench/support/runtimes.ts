/** The contestants of bench/run.ts, each started by posix_spawn(3), so that the clock holds no fork of Node. */
import { closeSync, constants, existsSync, openSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { exitStatus, spawn, waitPid } from '../../src/sys/spawn.js';

export interface Contestant {
  readonly name: string;
  /** Absolute path of the program, and what stands before `run`. */
  readonly command: readonly [string, ...string[]];
  readonly variables?: readonly string[];
}

/** A command in the PATH. */
export function which(name: string): string {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, name);
    if (folder !== '' && existsSync(path)) return path;
  }
  throw new Error(`${name} is not installed: npm run setup -- --bench installs it`);
}

let counter = 0;

/** A container's name as long as all the others of this process, as ids are. */
export function nextId(name: string): string {
  counter++;
  return `${name}-${process.pid}-${String(counter).padStart(8, '0')}`;
}

/** What every run gets of our environment: nothing that makes one of the contestants slower. */
const ENVIRONMENT = [`PATH=${process.env.PATH ?? ''}`, 'HOME=/root'];

/** Starts `ARGUMENTS...`. @returns its pid */
export function start({ command, variables = [] }: Contestant, args: readonly string[], log: string): number {
  const nothing = openSync('/dev/null', 'r+');
  const errors = openSync(log, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
  try {
    return spawn({
      path: command[0],
      argv: [...command, ...args],
      environment: [...ENVIRONMENT, ...variables],
      descriptors: new Map([
        [0, nothing],
        [1, nothing],
        [2, errors],
      ]),
    });
  } finally {
    closeSync(nothing);
    closeSync(errors);
  }
}

/** Waits for it. @throws Error unless it ends with 0 */
export function finish(pid: number, what: string, log: string): void {
  const status = exitStatus(waitPid(pid) ?? 0);
  if (status !== 0) throw new Error(`${what} ended with exit status ${status}: ${readFileSync(log, 'utf8')}`);
}

/** Wall time of one whole `run`, in ms. */
export function timeRun(contestant: Contestant, bundle: string, log: string): number {
  const args = ['run', '--bundle', bundle, nextId(contestant.name)];
  const begin = performance.now();
  const pid = start(contestant, args, log);
  finish(pid, `${contestant.name} run`, log);
  return performance.now() - begin;
}

/** Lets them take turns, the first one changing. @returns ms by contestant */
export function race(
  contestants: readonly Contestant[],
  rounds: number,
  bundle: string,
  log: string,
): Map<string, number[]> {
  const times = new Map<string, number[]>(contestants.map(({ name }) => [name, []]));
  for (let round = -2; round < rounds; round++) {
    const turn = ((round % contestants.length) + contestants.length) % contestants.length;
    for (const contestant of [...contestants.slice(turn), ...contestants.slice(0, turn)]) {
      const time = timeRun(contestant, bundle, log);
      // The first two fill caches.
      if (round >= 0) times.get(contestant.name)?.push(time);
    }
  }
  return times;
}
