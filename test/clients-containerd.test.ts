/**
 * containerd with our runtime, by its own command line and by the Container Runtime Interface as Kubernetes uses it: what it starts, what it makes
 * the runtime do later, and that nothing is left. With and without a resident engine.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { IMAGE, output, run, SHOW_TERMINAL, until } from './support/clients.js';
import { Containerd } from './support/containerd.js';
import { Cri, EXITED, RUNNING } from './support/cri.js';
import { needs } from './support/needs.js';

/** The lines of a terminal's output; ctr's own terminal adds a second carriage return. */
function lines(text: string): string[] {
  return text.split(/\r+\n/).filter((line) => line !== '');
}

describe.each(['cold', 'resident'] as const)('containerd over the %s runtime', (kind) => {
  let containerd: Containerd;
  beforeAll(async () => {
    containerd = new Containerd(kind);
    if (process.getuid?.() === 0) await containerd.start();
  });
  beforeEach((context) => needs(context, 'root'));
  afterAll(() => containerd.end());

  it('hands on output, errors and the exit status of ctr run', async () => {
    const { status, stdout, stderr } = await containerd.run(
      'one',
      [],
      'sh',
      '-c',
      'id -u; echo error >&2; exit 3',
    );
    expect({ status, stdout, stderr }).toEqual({ status: 3, stdout: '0\n', stderr: 'error\n' });
    const missing = await containerd.run('missing', [], '/no/such');
    expect(missing.status).toBe(1);
    expect(missing.stderr).toContain('tvmm-oci create failed: cannot find the program /no/such');
  });

  it('runs on a terminal of the caller’s size', async () => {
    const { status, stdout } = await containerd.runOnTerminal(
      'terminal',
      'sh',
      '-c',
      `${SHOW_TERMINAL}; exit 2`,
    );
    expect([status, ...lines(stdout)]).toEqual([2, '/dev/pts/0', '33 99']);
  });

  it('leads a task through its life', async () => {
    await containerd.detached('life', 'sh', '-c', 'trap "exit 7" TERM; while :; do sleep 0.1; done');
    const status = async () => /^life +\d+ +(\w+)/m.exec(await containerd.ok('task', 'ls'))?.[1];
    expect(await status()).toBe('RUNNING');

    const inside = ['task', 'exec', '--exec-id', 'a', 'life', 'sh', '-c', 'cat; id -u; exit 6'];
    const executed = await containerd.ctr([...inside.slice(0, 4), '--user', '1000', ...inside.slice(4)], {
      stdin: 'typed\n',
    });
    expect([executed.status, executed.stdout]).toEqual([6, 'typed\n1000\n']);
    const onTerminal = await containerd.onTerminal(
      ...['task', 'exec', '--tty', '--exec-id', 'b', 'life', 'sh', '-c', `${SHOW_TERMINAL}; exit 4`],
    );
    expect([onTerminal.status, ...lines(onTerminal.stdout)]).toEqual([4, '/dev/pts/0', '33 99']);
    const missing = await containerd.ctr(['task', 'exec', '--exec-id', 'c', 'life', '/no/such']);
    expect(missing.stderr).toContain('cannot find the program /no/such');
    await containerd.ok('task', 'exec', '--detach', '--exec-id', 'd', 'life', 'sleep', '1000');
    expect(await containerd.ok('task', 'ps', 'life')).toContain('ExecID:d');

    await containerd.ok('task', 'pause', 'life');
    expect(await status()).toBe('PAUSED');
    await containerd.ok('task', 'resume', 'life');
    expect(await containerd.ok('task', 'metrics', 'life')).toMatch(/memory\.usage|pids\.current/);
    await containerd.ok('task', 'kill', '--signal', 'SIGTERM', 'life');
    await until('it stops', async () => (await status()) === 'STOPPED');
    await containerd.ctr(['task', 'rm', 'life']);
    await containerd.ok('container', 'rm', 'life');
    expect(await containerd.left()).toEqual([]);
  });

  it('serves a kubelet: sandbox, container, exec, logs, statistics, limits, removal', async (context) => {
    needs(context, 'firewall');
    const logs = join(containerd.host.folder, 'logs');
    using cri = new Cri(containerd.socket, `/${containerd.host.name}`, logs);
    const sandbox = await cri.runSandbox('pod');
    expect(await cri.sandboxAddress(sandbox)).toMatch(/^10\./);
    const container = await cri.create(sandbox, 'pod', {
      name: 'worker',
      image: IMAGE,
      command: ['sh', '-c', 'echo begun; trap "echo told; exit 3" TERM; while :; do sleep 0.1; done'],
      memory: 2 ** 26,
    });
    await cri.start(container);
    expect(await cri.state(container)).toEqual({ state: RUNNING, exitCode: 0 });
    expect(await cri.execSync(container, ['sh', '-c', 'hostname; echo error >&2; exit 5'])).toEqual({
      status: 5,
      stdout: 'pod\n',
      stderr: 'error\n',
    });
    const { shown, status } = await cri.execOnTerminal(container, ['sh', '-c', `${SHOW_TERMINAL}; exit 4`]);
    expect(lines(shown)).toEqual(['/dev/pts/0', '33 99']);
    expect(JSON.parse(status)).toMatchObject({ status: 'Failure', details: { causes: [{ message: '4' }] } });
    await cri.limitMemory(container, 2 ** 25);
    await until('memory is in use', async () => (await cri.stats(container)).memory > 0);
    await cri.stop(container);
    expect(await cri.state(container)).toEqual({ state: EXITED, exitCode: 3 });
    const log = readFileSync(join(logs, 'worker.log'), 'utf8').trim().split('\n');
    expect(log.map((line) => line.replace(/^\S+ /, ''))).toEqual(['stdout F begun', 'stdout F told']);
    await cri.remove(container);
    await cri.removeSandbox(sandbox);
    expect(await containerd.left()).toEqual([]);
  });

  it('is served by the engine that listens, and by none where there is none', () => {
    if (kind === 'resident') expect(containerd.host.served).toBeGreaterThan(10);
    else expect(containerd.host.served).toBe(0);
  });
});

describe('ctr', () => {
  let containerd: Containerd;
  beforeAll(async () => {
    containerd = new Containerd('resident');
    if (process.getuid?.() === 0) await containerd.start();
  });
  beforeEach((context) => needs(context, 'root'));
  afterAll(() => containerd.end());

  it('confines as it is asked to', async () => {
    const volume = join(containerd.host.folder, 'volume');
    mkdirSync(volume);
    writeFileSync(join(volume, 'data'), 'shared\n');
    const options = [
      '--seccomp',
      '--read-only',
      '--cap-drop',
      'CAP_CHOWN',
      '--env',
      'A=b',
      '--cwd',
      '/tmp',
      '--device',
      '/dev/full',
    ];
    const { status, stdout, stderr } = await containerd.run(
      'confined',
      [...options, '--mount', `type=bind,src=${volume},dst=/volume,options=rbind:ro`],
      ...[
        'sh',
        '-c',
        'cat /volume/data; echo $A; pwd; grep Seccomp: /proc/self/status; touch /made; echo full > /dev/full',
      ],
    );
    expect([status, stdout]).toEqual([1, 'shared\nb\n/tmp\nSeccomp:\t2\n']);
    expect(stderr).toContain('Read-only file system');
    expect(stderr).toContain('No space left on device');
  });

  it('limits memory, and maps users', async (context) => {
    needs(context, 'cgroupV1');
    const cgroups = 'type=bind,src=/sys/fs/cgroup/memory,dst=/cgroups,options=rbind:ro';
    const { stdout } = await containerd.run(
      'limited',
      ['--memory-limit', '33554432', '--mount', cgroups],
      ...['cat', `/cgroups/${containerd.host.name}/limited/memory.limit_in_bytes`],
    );
    expect(stdout).toBe('33554432\n');
    const maps = ['--uidmap', '0:100000:1000', '--gidmap', '0:200000:1000'];
    const mapped = await containerd.run('mapped', maps, 'cat', '/proc/self/uid_map', '/proc/self/gid_map');
    expect(mapped.stdout.trim().split(/\s+/)).toEqual('0 100000 1000 0 200000 1000'.split(' '));
  });

  it('joins a network namespace by its path', async () => {
    const { name } = containerd.host;
    await output('ip', ['netns', 'add', name]);
    try {
      await output('ip', ['-n', name, 'link', 'add', 'here', 'type', 'bridge']);
      const joined = await containerd.run(
        'joined',
        ['--with-ns', `network:/run/netns/${name}`],
        'cat',
        '/proc/net/dev',
      );
      expect(joined.stdout).toContain('here:');
    } finally {
      await run('ip', ['netns', 'delete', name]);
    }
  });

  it('runs several at once, and leaves nothing', async () => {
    const numbers = [1, 2, 3, 4, 5, 6];
    const outcomes = await Promise.all(
      numbers.map((n) => containerd.run(`many-${n}`, [], 'sh', '-c', `echo ${n}; exit ${n}`)),
    );
    expect(outcomes.map(({ status, stdout }) => [status, stdout])).toEqual(numbers.map((n) => [n, `${n}\n`]));
    expect(await containerd.left()).toEqual([]);
  });
});
