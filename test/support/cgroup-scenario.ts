/**
 * One container's life in a real cgroup, without a test runner, so that it runs the same on this machine and in the lab: what was seen is
 * returned, and the tests judge it. Also an entry of its own: `node scenario.cjs MODE`, answering in JSON.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Cgroup } from '../../src/container/cgroup/cgroup.js';
import { type CreateOptions, createCgroup } from '../../src/container/cgroup/create.js';
import { findDelegation } from '../../src/container/cgroup/delegation.js';
import { containerDeviceRules } from '../../src/container/cgroup/device-rules.js';
import { readLayout } from '../../src/container/cgroup/layout.js';
import { oomKills } from '../../src/container/cgroup/watch.js';

const MIB = 2 ** 20;

/** A shell that waits until it is in the cgroup, then runs `script`. */
export async function enter(cgroup: Cgroup, script: string): Promise<ChildProcess> {
  const child = spawn('sh', ['-c', `read go; ${script}`], { stdio: ['pipe', 'pipe', 'pipe'] });
  await new Promise((resolve, reject) => child.on('spawn', resolve).on('error', reject));
  cgroup.attach(child.pid ?? -1);
  child.stdin?.end('go\n');
  return child;
}

/** Runs `script` in the cgroup to its end. */
export async function runIn(
  cgroup: Cgroup,
  script: string,
): Promise<{ status: number | null; output: string }> {
  const child = await enter(cgroup, script);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (output += data));
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { status, output };
}

/** The text of a limit's file: by its v1 controller and name, or its name on v2. */
export function fileOf(cgroup: Cgroup, controller: string, v1: string, v2: string): string {
  const folder = cgroup.paths[controller];
  const path = folder === undefined ? `${cgroup.unified}/${v2}` : `${folder}/${v1}`;
  return readFileSync(path, 'utf8').trim();
}

/** Waits for something to become true; false after ten seconds. */
export async function until(condition: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 200; tries++) {
    if (condition()) return true;
    await delay(50);
  }
  return condition();
}

export type Observations = Awaited<ReturnType<typeof life>>;

/** From create to remove. */
export async function life(id: string) {
  const layout = readLayout();
  const cgroup = createCgroup(layout, {
    id,
    cgroupsPath: `/tvmm-test-${id}/inner`,
    resources: {
      memory: { limit: 48 * MIB, swap: 48 * MIB },
      pids: { limit: 12 },
      cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: '0' },
      devices: containerDeviceRules([{ allow: false, access: 'rwm' }]),
    },
  });
  try {
    const limits = {
      memory: fileOf(cgroup, 'memory', 'memory.limit_in_bytes', 'memory.max'),
      pids: fileOf(cgroup, 'pids', 'pids.max', 'pids.max'),
      cpus: fileOf(cgroup, 'cpuset', 'cpuset.cpus', 'cpuset.cpus'),
      weight: fileOf(cgroup, 'cpu', 'cpu.shares', 'cpu.weight'),
    };
    const devices = {
      null: await runIn(cgroup, 'head -c 1 /dev/zero > /dev/null && echo read'),
      kmsg: await runIn(cgroup, 'head -c 1 /dev/kmsg'),
    };
    await cgroup.update({
      devices: containerDeviceRules([{ allow: true, type: 'c', major: 1, minor: 11, access: 'r' }]),
    });
    const afterUpdate = {
      read: await runIn(cgroup, 'exec 3</dev/kmsg && echo opened'),
      write: await runIn(cgroup, 'exec 3>/dev/kmsg && echo opened'),
    };
    const forks = await runIn(cgroup, 'for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 1 & done; wait');
    await cgroup.kill();
    // Who was killed counts until this machine's init has waited for it.
    await cgroup.update({ pids: { limit: 100 } });

    const busy = await enter(cgroup, 'while :; do :; done');
    await until(() => cgroup.stats().cpu.usage.total > 0);
    const cpu = () => cgroup.stats().cpu.usage.total;
    await cgroup.freeze();
    const state = cgroup.freezerState();
    const before = cpu();
    await delay(300);
    const frozen = { state, before, after: cpu() };
    const reopened = Cgroup.open(JSON.parse(JSON.stringify(cgroup.state)));
    reopened.thaw();
    const thawed = { state: cgroup.freezerState(), moves: await until(() => cpu() > frozen.after) };
    const stats = cgroup.stats();
    const pids = cgroup.pids();
    // A container with a cgroup namespace makes cgroups below its own.
    for (const folder of new Set(Object.values(cgroup.paths)))
      mkdirSync(`${folder}/made/inside`, { recursive: true });
    await cgroup.freeze();
    await reopened.kill();
    const killed = { pids: cgroup.pids(), busy: pids.includes(busy.pid ?? -1) };

    await cgroup.update({ memory: { limit: 24 * MIB, swap: 24 * MIB } });
    let ooms = 0;
    const watching = await cgroup.watchOom(() => ooms++);
    const hungry = await runIn(cgroup, 'dd if=/dev/zero of=/dev/null bs=200M count=1');
    const seen = await until(() => ooms > 0);
    watching[Symbol.dispose]();
    const oom = { status: hungry.status, seen, kills: oomKills(cgroup.state) };
    return {
      version: layout.version,
      limits,
      devices,
      afterUpdate,
      forks,
      frozen,
      thawed,
      stats,
      pids: pids.length,
      killed,
      oom,
      ...(await removal(cgroup)),
    };
  } finally {
    await cgroup.kill();
    await cgroup.remove();
  }
}

async function removal(cgroup: Cgroup) {
  await cgroup.remove();
  const parents = Object.values(cgroup.paths).flatMap((folder) => [folder, `${folder}/..`]);
  return { left: parents.filter((folder) => existsSync(folder)) };
}

/** A pressure trigger fires while two loops fight for a tenth of a CPU; undefined where there is no PSI. */
export async function pressure(id: string): Promise<boolean> {
  const cgroup = createCgroup(readLayout(), {
    id,
    cgroupsPath: `/tvmm-test-${id}`,
    resources: { cpu: { quota: 10_000, period: 100_000 } },
  });
  try {
    let fired = 0;
    const watching = await cgroup.watchPressure(
      { resource: 'cpu', kind: 'some', stallMicroseconds: 100_000, windowMicroseconds: 2_000_000 },
      () => fired++,
    );
    await enter(cgroup, 'while :; do :; done & while :; do :; done');
    const seen = await until(() => fired > 0);
    watching[Symbol.dispose]();
    return seen;
  } finally {
    await cgroup.kill();
    await cgroup.remove();
  }
}

/** Creates, and says what became of it. */
async function attempt(options: CreateOptions): Promise<unknown> {
  try {
    const cgroup = createCgroup(readLayout(), options);
    const { present } = cgroup;
    await cgroup.remove();
    return { present };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return { name: error.name, message: error.message, hint: 'hint' in error ? error.hint : undefined };
  }
}

/** Creates and removes again and again, below a parent that others make and remove as well. */
async function race(id: string): Promise<unknown> {
  const layout = readLayout();
  for (let round = 0; round < 100; round++) {
    const cgroup = createCgroup(layout, { id, cgroupsPath: `/tvmm-test-race/pod/${id}` });
    await cgroup.remove();
  }
  return {};
}

/** What only cgroup v2 has: its own files, parents that hold processes, delegation. */
async function version2(id: string) {
  const layout = readLayout();
  const cgroupsPath = `/tvmm-test-${id}`;
  const own = createCgroup(layout, {
    id,
    cgroupsPath,
    resources: {
      unified: { 'memory.high': '10485760', 'cgroup.max.depth': '3' },
      hugepageLimits: [{ pageSize: '2MB', limit: 4 * MIB }],
      blockIO: { weight: 500 },
    },
  });
  const read = (file: string) => readFileSync(`${own.unified}/${file}`, 'utf8').trim();
  const files = ['memory.high', 'cgroup.max.depth', 'hugetlb.2MB.max'].map((file) => [file, read(file)]);
  own.giveTo(65_534, 65_534);
  const owners = ['.', 'cgroup.procs', 'memory.max'].map((file) => statSync(`${own.unified}/${file}`).uid);

  const refusals = {
    swappiness: await attempt({
      id,
      cgroupsPath: `${cgroupsPath}-2`,
      resources: { memory: { swappiness: 5 } },
    }),
    controller: await attempt({
      id,
      cgroupsPath: `${cgroupsPath}-2`,
      resources: { rdma: { x: { hcaHandles: 1 } } },
    }),
    below: undefined as unknown,
  };
  // A cgroup that holds processes hands no controllers down.
  const child = await enter(own, 'sleep 60');
  refusals.below = await attempt({
    id,
    cgroupsPath: `${cgroupsPath}/below`,
    resources: { memory: { limit: MIB } },
  });
  await own.kill();
  await own.remove();

  // What systemd does for a user's session: a subtree of its own, with the session in it.
  const subtree = createCgroup(layout, { id, cgroupsPath });
  const session = createCgroup(layout, { id, cgroupsPath: `${cgroupsPath}/session` });
  subtree.giveTo(65_534, 65_534);
  session.giveTo(65_534, 65_534);
  const options = JSON.stringify({ id, rootless: true, resources: { pids: { limit: 9 } } });
  // The exchange share is root's, and so may the checkout be.
  const copy = `/tmp/cgroup-scenario-${id}`;
  const script = `${copy}/scenario.cjs`;
  mkdirSync(copy);
  copyFileSync(process.argv[1] ?? '', script);
  for (const name of ['koffi', '@koromix/koffi-linux-x64'])
    cpSync(`${process.env.NODE_PATH}/${name}`, `${copy}/node_modules/${name}`, { recursive: true });
  const command = `exec setpriv --reuid=65534 --regid=65534 --clear-groups ${process.execPath} ${script}`;
  const rootless = await runIn(session, `${command} create '${options}'`);
  const delegation = await runIn(session, `${command} delegation`);
  rmSync(copy, { recursive: true });
  await session.remove();
  await subtree.remove();
  return {
    files: Object.fromEntries(files),
    owners,
    refusals,
    busy: child.pid,
    rootless: rootless.output,
    delegation: delegation.output,
    left: existsSync(subtree.unified ?? ''),
  };
}

const MODES: Readonly<Record<string, (argument: string) => Promise<unknown>>> = {
  life,
  pressure,
  race,
  version2,
  delegation: async () => findDelegation(readLayout()) ?? {},
  create: (json) => attempt(JSON.parse(json)),
};

/** Where this is the entry. */
if (process.env.CGROUP_SCENARIO !== undefined) {
  const [mode = '', argument = ''] = process.argv.slice(2);
  MODES[mode]?.(argument).then(
    (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`),
    (error: unknown) => {
      console.error(error);
      process.exitCode = 1;
    },
  );
}
