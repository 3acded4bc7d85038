/**
 * What a container's start costs: `/bin/true` of busybox from the command line to its exit status, against crun and runc, which take turns
 * with tvmm. Once through the resident engine (`tvmm serve` and the native client), once cold.
 *
 *     node dist/bench/run.js [--rounds 60] [--cycles 2000] [--no-tables]
 *
 * All run in one private mount namespace with a tmpfs at /run, where systems have one, and without the cgroup2 mount of a hybrid layout,
 * which crun 1.8 cannot start with. `run-six-namespaces` and `run-seccomp` are tvmm's median over crun's; `run-cold-ms` is the
 * cold median over 100 ms.
 */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from 'tvmm';
import { cgroupTable } from './support/cgroup-costs.js';
import { makeBundle, SIX_NAMESPACES } from './support/container-bundle.js';
import { census } from './support/engine-census.js';
import { engineCommandsTable } from './support/engine-commands.js';
import { median, table } from './support/figures.js';
import { type Contestant, finish, nextId, race, start, timeRun, which } from './support/runtimes.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '60' },
    cycles: { type: 'string', default: '2000' },
    'no-tables': { type: 'boolean', default: false },
    inside: { type: 'boolean', default: false },
  },
});
const ROUNDS = Number(values.rounds);
const CYCLES = Number(values.cycles);
const PARALLEL = 64;
const TABLE_ROUNDS = 20;
const ROOT = '/run/tvmm-oci';
const GOALS = { 'run-six-namespaces': 0.5, 'run-seccomp': 0.2, 'run-cold-ms': 1 };

const PREPARE = `
mount -t tmpfs -o mode=755 tmpfs /run || exit 1
if grep -q ' /sys/fs/cgroup/unified ' /proc/self/mountinfo; then umount /sys/fs/cgroup/unified || exit 1; fi
# crun gives its standard streams to the root of a new user namespace: the host's /dev/null, were it not for this one.
mount -t tmpfs tmpfs /mnt && mknod -m 666 /mnt/null c 1 3 && mount --bind /mnt/null /dev/null && umount -l /mnt || exit 1
exec "$@"`;

/** Starts this program again where the contestants find the same machine. */
function goInside(): number {
  const { NODE_EXTRA_CA_CERTS: _, ...environment } = process.env;
  const words = ['-m', '--propagation', 'private', 'sh', '-c', PREPARE, 'sh'];
  const again = [process.execPath, ...process.argv.slice(1), '--inside'];
  const { status, error } = spawnSync('unshare', [...words, ...again], {
    stdio: 'inherit',
    env: environment,
  });
  if (error !== undefined) throw error;
  return status ?? 1;
}

/** The resident engine. */
async function startEngine(folder: string): Promise<{ pid: number; socket: string } & Disposable> {
  const socket = join(folder, 'engine/engine.sock');
  const child = spawn(process.execPath, [join(packageRoot(), 'dist/cli.cjs'), 'serve', '--socket', socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((ready, failed) => {
    child.stdout.once('data', () => ready());
    child.once('exit', () => failed(new Error('the engine has ended')));
  });
  return { pid: child.pid ?? 0, socket, [Symbol.dispose]: () => void child.kill() };
}

const ms = (value: number) => value.toFixed(2);

function show(title: string, times: ReadonlyMap<string, readonly number[]>): void {
  table(
    [title, 'ms, median', 'min', 'ratio to crun'],
    [...times].map(([name, all]) => [
      name,
      ms(median(all)),
      ms(Math.min(...all)),
      ms(median(all) / median(times.get('crun') ?? all)),
    ]),
  );
  console.log('');
}

/** Median over the rounds of tvmm's time, over the median of crun's. */
function ratio(times: ReadonlyMap<string, readonly number[]>): number {
  return median(times.get('tvmm') ?? []) / median(times.get('crun') ?? []);
}

/** KiB. busybox' time(1) takes what the kernel tells in KiB for pages of 4 KiB; it is small itself, unlike what Node would leave as a peak. */
function peakRss({ command, variables = [] }: Contestant, bundle: string): string {
  const words = ['time', '-v', ...command, 'run', '--bundle', bundle, nextId('rss')];
  const { stderr } = spawnSync('busybox', words, {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...Object.fromEntries(variables.map((line) => line.split('=', 2))) },
  });
  const told = /Maximum resident set size \(kbytes\): (\d+)/.exec(stderr)?.[1];
  return told === undefined ? 'unknown' : String(Number(told) / 4);
}

/** ms for so many at once. */
function together(contestant: Contestant, bundle: string, folder: string): number {
  const begin = performance.now();
  const pids = Array.from({ length: PARALLEL }, (_, index) =>
    start(contestant, ['run', '--bundle', bundle, nextId(contestant.name)], join(folder, `log-${index}`)),
  );
  pids.forEach((pid, index) => {
    finish(pid, `${contestant.name} run, one of ${PARALLEL}`, join(folder, `log-${index}`));
  });
  return performance.now() - begin;
}

/** What a cold run's time is made of: programs that go ever further on the same way. */
function coldTable(cold: Contestant, bundle: string, log: string): number {
  const steps: readonly (readonly [string, Contestant, readonly string[]])[] = [
    ['node alone', { name: 'node', command: [process.execPath] }, ['-e', '0']],
    ['+ tvmm-oci loads', cold, ['--version']],
    ['+ looks for a container', cold, ['state', nextId('none')]],
    ['run', cold, []],
  ];
  const times = new Map<string, number[]>(steps.map(([name]) => [name, []]));
  for (let round = -2; round < ROUNDS; round++) {
    for (const [name, contestant, args] of steps) {
      const begin = performance.now();
      if (args.length === 0) timeRun(contestant, bundle, log);
      else {
        const pid = start(contestant, args, log);
        try {
          finish(pid, name, log);
        } catch (error) {
          // There is none of that name.
          if (args[0] !== 'state') throw error;
        }
      }
      if (round >= 0) times.get(name)?.push(performance.now() - begin);
    }
  }
  let before = 0;
  const rows = [...times].map(([name, all]) => {
    const now = median(all);
    const row = [name, ms(now), ms(now - before), ms(Math.min(...all))];
    before = now;
    return row;
  });
  table(['cold', 'ms, median', 'adds', 'min'], rows);
  console.log('');
  return before;
}

async function namespaceTable(folder: string, contestants: readonly Contestant[], log: string) {
  const chain: readonly (readonly [string, readonly string[]])[] = [
    ['mount', ['mount']],
    ['+ pid', ['mount', 'pid']],
    ['+ uts', ['mount', 'pid', 'uts']],
    ['+ ipc', ['mount', 'pid', 'uts', 'ipc']],
    ['+ cgroup', ['mount', 'pid', 'uts', 'ipc', 'cgroup']],
    ['+ network', ['mount', 'pid', 'uts', 'ipc', 'cgroup', 'network']],
    ['+ user', ['mount', 'pid', 'uts', 'ipc', 'cgroup', 'network', 'user']],
  ];
  const rows: string[][] = [];
  for (const [name, namespaces] of chain) {
    const bundle = await makeBundle(folder, `chain-${namespaces.length}`, { namespaces });
    const times = race(contestants, TABLE_ROUNDS, bundle, log);
    rows.push([name, ...contestants.map((one) => ms(median(times.get(one.name) ?? [])))]);
  }
  table(['namespaces, ms', ...contestants.map(({ name }) => name)], rows);
  console.log('');
}

function cycles(contestant: Contestant, engine: number, bundle: string, log: string): void {
  for (let warm = 0; warm < 100; warm++) timeRun(contestant, bundle, log);
  const before = census(engine, ROOT);
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const id = nextId('cycle');
    for (const args of [
      ['create', '--bundle', bundle, id],
      ['start', id],
      ['delete', '--force', id],
    ])
      finish(start(contestant, args, log), args[0], log);
  }
  const after = census(engine, ROOT);
  table(
    [`${CYCLES} containers`, 'before', 'after'],
    Object.entries(before).map(([name, value]) => [
      name === 'rss' ? 'rss, KiB' : name,
      String(value),
      String(after[name as keyof typeof after]),
    ]),
  );
  console.log('');
}

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'tvmm-bench-run-'));
  // The root of a user namespace has to pass.
  chmodSync(folder, 0o755);
  const log = join(folder, 'log');
  try {
    using engine = await startEngine(folder);
    const tvmm: Contestant = {
      name: 'tvmm',
      command: [join(packageRoot(), 'dist/firmware/client')],
      variables: [`TVMM_ENGINE=${engine.socket}`],
    };
    const cold: Contestant = {
      name: 'cold',
      command: [process.execPath, join(packageRoot(), 'dist/oci.cjs')],
    };
    const crun: Contestant = { name: 'crun', command: [which('crun')] };
    const runc: Contestant = { name: 'runc', command: [which('runc')] };
    const contestants = [tvmm, crun, runc];
    const plain = await makeBundle(folder, 'plain', { namespaces: SIX_NAMESPACES });
    const filtered = await makeBundle(folder, 'seccomp', { namespaces: SIX_NAMESPACES, seccomp: true });

    const six = race(contestants, ROUNDS, plain, log);
    show('/bin/true in six namespaces', six);
    const seccomp = race(contestants, ROUNDS, filtered, log);
    show('with the default seccomp profile', seccomp);
    const coldMs = coldTable(cold, plain, log);
    const place = { folder, rootfs: join(plain, 'rootfs'), socket: engine.socket, log };
    engineCommandsTable(ROUNDS, place);

    if (!values['no-tables']) {
      table(
        ['peak RSS', 'KiB'],
        contestants.map((one) => [one.name, peakRss(one, filtered)]),
      );
      console.log('');
      table(
        [`${PARALLEL} at once`, 'ms'],
        contestants.map((one) => [one.name, together(one, plain, folder).toFixed(0)]),
      );
      console.log('');
      await namespaceTable(folder, contestants, log);
      cgroupTable(TABLE_ROUNDS);
    }
    if (CYCLES > 0) cycles(tvmm, engine.pid, plain, log);
    const figures = {
      'run-six-namespaces': ratio(six),
      'run-seccomp': ratio(seccomp),
      'run-cold-ms': coldMs / 100,
    };
    for (const [name, goal] of Object.entries(GOALS))
      console.log(
        `${name} ratio ${figures[name as keyof typeof figures].toFixed(2)} goal ${goal.toFixed(2)}`,
      );
    return 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = values.inside ? await main() : goInside();
