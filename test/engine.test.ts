/**
 * The container engine at the command line, with real containers from a plain busybox folder: options, exit statuses, logs, restarts, and what
 * happens when anything of it is killed. Needs root.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CLI, engineHost, program } from './support/engine.js';
import { needs } from './support/needs.js';

const host = engineHost('tvmm-engine-');
const { tvmm, run, inspect, until, leftovers, removeAll } = host;
let base = '';
let rootfs = '';

beforeAll(() => {
  ({ base, rootfs } = host.open());
});

beforeEach((context) => needs(context, 'root'));

afterAll(() => host.close());

describe('tvmm run', () => {
  afterEach(removeAll);

  it('ends with the command’s output and status, and leaves nothing', async () => {
    const result = await run(['--rm'], 'sh', '-c', 'echo out; echo err >&2; exit 7');
    expect(result).toMatchObject({ status: 7, stdout: 'out\n', stderr: 'err\n' });
    await until('everything is gone', () => leftovers().length === 0);
  });

  it('ends with 127 for a command that is not there, 126 for one that cannot be run, 125 for its own failures', async () => {
    expect((await run(['--rm'], 'no-such-command')).status).toBe(127);
    expect((await run(['--rm'], '/etc')).status).toBe(126);
    const failed = await run(['--rm', '-v', '/no/such/source:/x'], 'true');
    expect(failed.status).toBe(125);
    expect(failed.stderr).toContain('/no/such/source does not exist on the host');
    expect(leftovers()).toEqual([]);
  });

  it('passes a pipe through without losing a byte', async () => {
    const input = Array.from({ length: 100_000 }, (_, i) => `line ${i}\n`).join('');
    const child = await tvmm(
      ['run', '--rm', '-i', '--network', 'none', '--log-driver', 'none', '--rootfs', rootfs, 'cat'],
      input,
    );
    expect(child.stdout === input).toBe(true);
  });

  it('runs as the user that the root’s passwd file names, with that user’s groups', async () => {
    const { stdout } = await run(['--rm', '-u', 'alice', '-w', '/tmp'], 'sh', '-c', 'id; echo $HOME $PWD');
    expect(stdout).toBe('uid=1000(alice) gid=1000(alice) groups=50(staff)\n/home/alice /tmp\n');
    expect((await run(['--rm', '-u', 'bob'], 'id')).stderr).toContain('no user "bob"');
  });

  it('has no privileges to gain, a seccomp filter and few capabilities', async () => {
    const { stdout } = await run(
      ['--rm'],
      'grep',
      '-E',
      '^(CapEff|NoNewPrivs|Seccomp):',
      '/proc/self/status',
    );
    expect(stdout).toBe('CapEff:\t00000000800405fb\nNoNewPrivs:\t1\nSeccomp:\t2\n');
  });

  it('makes root in a private user namespace somebody else outside', async () => {
    const { stdout, stderr } = await run(['--rm', '--userns', 'private'], 'cat', '/proc/self/uid_map');
    expect(stderr).toBe('');
    expect(stdout.trim().split(/\s+/)).toEqual(['0', expect.stringMatching(/^\d{9}$/), '65536']);
  });

  it('makes the root read-only, with a tmpfs and volumes that can be written', async () => {
    const folder = join(base, 'volume');
    mkdirSync(folder, { recursive: true });
    const script = 'touch /no 2>/dev/null || echo refused; touch /tmp/t /v/file && echo written';
    const { stdout } = await run(
      ['--rm', '--read-only', '--tmpfs', '/tmp', '-v', `${folder}:/v`],
      'sh',
      '-c',
      script,
    );
    expect(stdout).toBe('refused\nwritten\n');
    expect(readdirSync(folder)).toEqual(['file']);
  });

  it('reaps and passes signals on with --init', async () => {
    await run(['-d', '--name', 'reaper', '--init'], 'sleep', '1000');
    expect((await tvmm(['stop', '-t', '30', 'reaper'])).status).toBe(0);
    // Without an init in between process 1 would ignore SIGTERM, and end by SIGKILL.
    expect((await inspect('reaper')).exitCode).toBe(143);
  });

  it('gives --init a copy of its own, read-only, so that no container reaches what the host runs', async () => {
    const launcher = join(dirname(CLI), 'firmware', 'launcher');
    await run(['-d', '--name', 'first', '--init', '--privileged'], 'sleep', '1000');
    await run(['-d', '--name', 'second', '--init'], 'sleep', '1000');
    const inits = await Promise.all(
      ['first', 'second'].map(async (name) => `/proc/${(await inspect(name)).init?.pid}/root/dev/tvmm-init`),
    );
    expect(new Set([...inits, launcher].map((path) => statSync(path).ino)).size).toBe(3);
    for (const path of inits) {
      expect(readFileSync(path).equals(readFileSync(launcher))).toBe(true);
      expect(() => writeFileSync(path, 'x')).toThrow('EROFS');
    }
    await tvmm(['rm', '-f', 'first', 'second']);
  });
});

describe('a container in the background', () => {
  afterEach(removeAll);

  it('outlives its command, logs, takes exec, stops and is removed', async () => {
    const { stdout } = await run(['-d', '--name', 'web'], 'sh', '-c', 'echo started; sleep 1000');
    expect(stdout).toMatch(/^[0-9a-f]{64}\n$/);
    await until('it logs', async () => (await tvmm(['logs', 'web'])).stdout === 'started\n');
    expect(await tvmm(['exec', '-e', 'A=b', 'web', 'sh', '-c', 'echo $A; exit 9'])).toMatchObject({
      status: 9,
      stdout: 'b\n',
    });
    expect((await tvmm(['exec', 'web', 'no-such-command'])).status).toBe(127);
    expect((await tvmm(['rm', 'web'])).stderr).toContain('container web runs');
    await tvmm(['stop', '-t', '0', 'web']);
    expect(await inspect('web')).toMatchObject({ state: 'stopped', exitCode: 137 });
    expect((await tvmm(['exec', 'web', 'true'])).stderr).toContain('container web does not run');
    await tvmm(['rm', 'web']);
    await until('everything is gone', () => leftovers().length === 0);
  });

  it('starts again after its end, with its log going on', async () => {
    await run(['--name', 'job'], 'echo', 'one');
    expect((await tvmm(['start', '-a', 'job'])).stdout).toBe('one\n');
    expect((await tvmm(['logs', 'job'])).stdout).toBe('one\none\n');
    expect((await tvmm(['logs', '--tail', '1', '-t', 'job'])).stdout).toMatch(
      /^\d{4}-\d\d-\d\dT[\d:.]+Z one\n$/,
    );
  });

  it('is held by pause and goes on', async () => {
    await run(['-d', '--name', 'p'], 'sleep', '1000');
    await tvmm(['pause', 'p']);
    expect((await inspect('p')).state).toBe('paused');
    expect((await tvmm(['exec', 'p', 'true'])).stderr).toContain('is paused');
    await tvmm(['unpause', 'p']);
    expect((await tvmm(['exec', 'p', 'echo', 'back'])).stdout).toBe('back\n');
  });

  it('is started again as often as its policy says', async () => {
    await run(['-d', '--name', 'again', '--restart', 'on-failure:2'], 'sh', '-c', 'echo run; exit 4');
    await until('the policy has had enough', async () => {
      const { state, restarts } = await inspect('again');
      return state === 'stopped' && restarts === 2;
    });
    expect((await tvmm(['logs', 'again'])).stdout).toBe('run\nrun\nrun\n');
  });

  it('is not started again once the user has stopped it', async () => {
    await run(['-d', '--name', 'stay', '--restart', 'always'], 'sleep', '1000');
    await tvmm(['stop', '-t', '0', 'stay']);
    await delay(1000);
    expect((await inspect('stay')).state).toBe('stopped');
  });

  it('keeps its log within bounds', async () => {
    await run(['--name', 'loud', '--log-opt', 'max-size=4k', '--log-opt', 'max-file=2'], 'seq', '1', '1000');
    const { id } = await inspect('loud');
    const folder = join(base, 'root/containers', id);
    expect(
      readdirSync(folder)
        .filter((name) => name.startsWith('log'))
        .sort(),
    ).toEqual(['log', 'log.1']);
    const { stdout } = await tvmm(['logs', 'loud']);
    expect(stdout.endsWith('999\n1000\n')).toBe(true);
    expect(stdout.split('\n').length).toBeLessThan(200);
  });

  it('tells whoever waits its exit status', async () => {
    await run(['-d', '--name', 'w'], 'sh', '-c', 'sleep 0.5; exit 3');
    expect((await tvmm(['wait', 'w'])).stdout).toBe('3\n');
  });
});

describe('what is killed', () => {
  afterEach(removeAll);

  it('loses nothing when it is the minder: output goes on into the log, and the container can be stopped', async () => {
    await run(['-d', '--name', 'm'], 'sh', '-c', 'while :; do echo tick; sleep 0.1; done');
    const { minder } = await inspect('m');
    process.kill(minder?.pid ?? 0, 'SIGKILL');
    await delay(300);
    expect((await inspect('m')).state).toBe('running');
    const before = (await tvmm(['logs', 'm'])).stdout.length;
    await until('the log grows', async () => (await tvmm(['logs', 'm'])).stdout.length > before);
    await tvmm(['rm', '-f', 'm']);
    await until('everything is gone', () => leftovers().length === 0);
  });

  it('is noticed when it is init', async () => {
    await run(['-d', '--name', 'i'], 'sleep', '1000');
    process.kill((await inspect('i')).init?.pid ?? 0, 'SIGKILL');
    await until('it counts as stopped', async () => (await inspect('i')).state === 'stopped');
    expect((await inspect('i')).exitCode).toBe(137);
  });

  it('is cleared away when both are killed and a command looks', async () => {
    await run(['-d', '--name', 'both'], 'sleep', '1000');
    const { minder, init } = await inspect('both');
    process.kill(minder?.pid ?? 0, 'SIGKILL');
    process.kill(init?.pid ?? 0, 'SIGKILL');
    await until('it counts as stopped', async () => (await inspect('both')).state === 'stopped');
    expect((await tvmm(['start', 'both'])).status).toBe(0);
    await tvmm(['rm', '-f', 'both']);
    await until('everything is gone', () => leftovers().length === 0);
  });

  it('leaves nothing that the next command trips over when it is the command, at any time of a start', async () => {
    for (let after = 100; after <= 700; after += 60) {
      const name = `k${after}`;
      const [command, ...words] = program();
      const child: ChildProcess = spawn(
        command,
        [...words, 'run', '-d', '--name', name, '--network', 'none', '--rootfs', rootfs, 'sleep', '1000'],
        { env: host.environment(), stdio: 'ignore' },
      );
      await Promise.race([once(child, 'exit'), delay(after)]);
      child.kill('SIGKILL');
      const started = await tvmm(['start', name]);
      const { stderr } = started;
      expect(started.status === 0 || /already runs|no container/.test(stderr), stderr).toBe(true);
      if (!stderr.includes('no container')) expect((await tvmm(['rm', '-f', name])).stderr).toBe('');
    }
    await until(
      'everything is gone',
      () => leftovers().filter((one) => !one.includes('names/')).length === 0,
    );
  });
});

describe('several commands at once', () => {
  afterEach(removeAll);

  it('agree on who has a name', async () => {
    const made = await Promise.all(
      [1, 2, 3].map(() =>
        tvmm(['create', '--name', 'same', '--network', 'none', '--rootfs', rootfs, 'true']),
      ),
    );
    expect(made.map(({ status }) => status).sort()).toEqual([0, 125, 125]);
  });

  it('start one container once', async () => {
    await tvmm(['create', '--name', 'one', '--network', 'none', '--rootfs', rootfs, 'sleep', '1000']);
    const started = await Promise.all([1, 2, 3].map(() => tvmm(['start', 'one'])));
    expect(started.map(({ status }) => status).sort()).toEqual([0, 0, 0]);
    expect((await tvmm(['top', 'one', '--json'])).stdout.match(/"pid"/g)).toHaveLength(1);
  });

  it('remove and stop one container without an error that is none', async () => {
    await run(['-d', '--rm', '--name', 'gone'], 'sleep', '1000');
    const [stopped, removed] = await Promise.all([
      tvmm(['stop', '-t', '0', 'gone']),
      tvmm(['rm', '-f', 'gone']),
    ]);
    for (const { stderr } of [stopped, removed]) expect(stderr).not.toContain('internal error');
    await until('everything is gone', () => leftovers().length === 0);
  });
});

describe('tvmm cp', () => {
  afterEach(removeAll);

  it('copies into a running container, sees its mounts, and copies out again', async () => {
    await run(['-d', '--name', 'c', '--tmpfs', '/mnt'], 'sleep', '1000');
    const folder = join(base, 'copied');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'file'), 'content');
    expect((await tvmm(['cp', folder, 'c:/mnt'])).stderr).toBe('');
    expect((await tvmm(['exec', 'c', 'cat', '/mnt/copied/file'])).stdout).toBe('content');
    expect((await tvmm(['cp', 'c:/mnt/copied/.', join(base, 'back')])).stderr).toBe('');
    expect(readFileSync(join(base, 'back/file'), 'utf8')).toBe('content');
  });

  it('is not led out of a container by its links', async () => {
    await run(['-d', '--name', 'c', '--tmpfs', '/mnt'], 'sleep', '1000');
    await tvmm([
      'exec',
      'c',
      'sh',
      '-c',
      'busybox ln -s /proc/1/root/tmp /mnt/magic; busybox ln -s ../../../../tmp /mnt/up',
    ]);
    const victim = join(base, 'escaped');
    writeFileSync(victim, 'x');
    await tvmm(['cp', victim, 'c:/mnt/up']);
    expect((await tvmm(['exec', 'c', 'ls', '/tmp'])).stdout).toContain('escaped');
    expect(existsSync('/tmp/escaped')).toBe(false);
    await tvmm(['cp', victim, 'c:/mnt/magic/escaped']);
    expect(existsSync('/tmp/escaped')).toBe(false);
    expect(
      (await tvmm(['cp', `c:/mnt/../../../../..${base}/rootfs`, join(base, 'stolen')])).stderr,
    ).toContain('there is no');
  });

  it('reads a container that does not run, and says what is not there', async () => {
    await run(['--name', 'old'], 'sh', '-c', 'echo kept > /tmp/kept');
    const { stdout } = await tvmm(['cp', 'old:/tmp/kept', '-']);
    expect(stdout).toContain('kept\n');
    expect((await tvmm(['cp', 'old:/no/such', '-'])).stderr).toContain('old:/no/such: there is no such file');
  });
});

describe('what containers do', () => {
  afterEach(removeAll);

  it('is told by events, in order', async () => {
    const since = new Date().toISOString();
    await run(['--name', 'seen'], 'sh', '-c', 'exit 2');
    await tvmm(['rm', 'seen']);
    const { stdout } = await tvmm([
      'events',
      '--since',
      since,
      '--until',
      '0s',
      '--filter',
      'container=seen',
      '--json',
    ]);
    const events: { action: string; attributes?: { exitCode?: string } }[] = stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
    expect(events.map(({ action }) => action)).toEqual(['create', 'start', 'die', 'destroy']);
    expect(events[2]?.attributes?.exitCode).toBe('2');
  });

  it('is limited and counted', async () => {
    await run(['-d', '--name', 'lim', '-m', '64m', '--pids-limit', '20'], 'sleep', '1000');
    const [stats]: { memoryLimitBytes: number; pids: number }[] = JSON.parse(
      (await tvmm(['stats', '--no-stream', '--json', 'lim'])).stdout,
    );
    expect(stats).toMatchObject({ memoryLimitBytes: 64 * 2 ** 20, pids: 1 });
    expect((await tvmm(['update', '-m', '128m', 'lim'])).stderr).toBe('');
    const [after]: { memoryLimitBytes: number }[] = JSON.parse(
      (await tvmm(['stats', '--no-stream', '--json', 'lim'])).stdout,
    );
    expect(after?.memoryLimitBytes).toBe(128 * 2 ** 20);
  });
});

describe('a pod', () => {
  it('shares a network among its containers and goes with them', async () => {
    await tvmm(['pod', 'create', '--name', 'shop', '--network', 'none']);
    await tvmm(['pod', 'start', 'shop']);
    const pod = ['--pod', 'shop', '--rootfs', rootfs];
    await tvmm(['run', '-d', '--name', 'db', ...pod, 'sh', '-c', 'echo data | nc -l -p 99']);
    await delay(500);
    expect((await tvmm(['run', '--rm', ...pod, 'nc', '127.0.0.1', '99'])).stdout).toBe('data\n');
    expect((await tvmm(['pod', 'rm', 'shop'])).stderr).toContain('has containers: db');
    expect((await tvmm(['pod', 'rm', '-f', 'shop'])).status).toBe(0);
    await until('everything is gone', () => leftovers().length === 0);
  });
});
