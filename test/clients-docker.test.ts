/**
 * Docker's daemon with our runtime as the default one: what it starts, what it makes the runtime do later, what it builds, and that nothing
 * is left. The life cycle is tested with and without a resident engine, all else with one.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { IMAGE, SHOW_TERMINAL, until } from './support/clients.js';
import { Docker } from './support/docker.js';
import { needs } from './support/needs.js';

/** The lines of a terminal's output. */
function lines(text: string): string[] {
  return text.split('\r\n').filter((line) => line !== '');
}

describe.each(['cold', 'resident'] as const)('docker over the %s runtime', (kind) => {
  let docker: Docker;
  beforeAll(async () => {
    docker = new Docker(kind);
    if (process.getuid?.() === 0) await docker.start();
  }, 60_000);
  beforeEach((context) => needs(context, 'root'));
  afterAll(() => docker.end(), 60_000);

  it('hands on input, output, errors and the exit status, and tells what cannot be executed', async () => {
    const ran = await docker.run(
      ['run', '--rm', '-i', '--network', 'none', IMAGE, 'sh', '-c', 'cat; echo error >&2; exit 7'],
      { stdin: 'typed\n' },
    );
    expect(ran).toEqual({ status: 7, stdout: 'typed\n', stderr: 'error\n' });
    const missing = await docker.container([], '/no/such');
    expect(missing.status).toBe(127);
    expect(missing.stderr).toContain('tvmm-oci create failed: cannot find the program /no/such');
    expect((await docker.container([], '/etc')).status).toBe(126);
  });

  it('leads a container through its life', async () => {
    const script = 'trap "echo told; exit 5" TERM; echo begun; while :; do sleep 0.1; done';
    await docker.detached('life', [], 'sh', '-c', script);
    const state = () => docker.inspect('life', '{{.State.Status}} {{.State.ExitCode}}');
    expect(await state()).toBe('running 0');

    const words = ['exec', '-i', '-u', '1000', '-e', 'A=b', '-w', '/tmp', 'life'];
    const executed = await docker.run([...words, 'sh', '-c', 'cat; id -u; echo $A; pwd; exit 6'], {
      stdin: 'typed\n',
    });
    expect([executed.status, executed.stdout]).toEqual([6, 'typed\n1000\nb\n/tmp\n']);
    const onTerminal = await docker.onTerminal('exec', '-it', 'life', 'sh', '-c', `${SHOW_TERMINAL}; exit 4`);
    expect([onTerminal.status, ...lines(onTerminal.stdout)]).toEqual([4, '/dev/pts/0', '33 99']);
    // docker takes all that exec cannot start for the same.
    expect((await docker.run(['exec', 'life', '/no/such'])).status).toBe(126);

    expect(await docker.ok('top', 'life')).toContain('while :; do sleep 0.1; done');
    const stats = await docker.ok('stats', '--no-stream', '--format', '{{.Name}} {{.PIDs}}', 'life');
    expect(stats).toMatch(/^life [1-9]/);
    await docker.ok('pause', 'life');
    expect(await state()).toBe('paused 0');
    await docker.ok('unpause', 'life');
    await docker.ok(
      'update',
      '--memory',
      '64m',
      '--memory-swap',
      '128m',
      '--cpus',
      '0.5',
      '--pids-limit',
      '50',
      'life',
    );

    await docker.ok('stop', '--time', '20', 'life');
    expect(await state()).toBe('exited 5');
    expect(await docker.ok('logs', 'life')).toBe('begun\ntold');
    await docker.ok('start', 'life');
    await docker.ok('kill', 'life');
    expect(await docker.ok('wait', 'life')).toBe('137');
    await docker.ok('rm', 'life');
    expect(await docker.settled()).toEqual([]);
    if (kind === 'resident') expect(docker.host.served).toBeGreaterThan(10);
    else expect(docker.host.served).toBe(0);
  });
});

describe('docker', () => {
  let docker: Docker;
  beforeAll(async () => {
    docker = new Docker('resident');
    if (process.getuid?.() === 0) await docker.start();
  }, 60_000);
  beforeEach((context) => needs(context, 'root'));
  afterAll(() => docker.end(), 60_000);

  it('runs on a terminal of the caller’s size', async () => {
    const command = `${SHOW_TERMINAL}; exit 3`;
    const words = ['run', '--rm', '-it', '--network', 'none', IMAGE, 'sh', '-c', command];
    const { status, stdout } = await docker.onTerminal(...words);
    expect([status, ...lines(stdout)]).toEqual([3, '/dev/pts/0', '33 99']);
  });

  it('confines as it is asked to', async () => {
    const { folder } = docker.host;
    mkdirSync(join(folder, 'volume'));
    writeFileSync(join(folder, 'volume/data'), 'shared\n');
    const profile = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }],
    };
    writeFileSync(join(folder, 'seccomp.json'), JSON.stringify(profile));
    const { status, stdout, stderr } = await docker.container(
      [
        ...['--read-only', '--tmpfs', '/scratch:size=1m,mode=1777', '-v', `${folder}/volume:/volume:ro`],
        ...['--cap-drop', 'all', '--cap-add', 'NET_ADMIN', '--init', '--hostname', 'here'],
        ...['--security-opt', `seccomp=${folder}/seccomp.json`, '--security-opt', 'no-new-privileges'],
        ...['--user', '1000:1000', '--group-add', '55', '--oom-score-adj', '500'],
        ...['--sysctl', 'net.ipv4.ip_forward=1', '--ulimit', 'core=0:0', '-m', '32m', '--pids-limit', '9'],
      ],
      ...['sh', '-c'],
      `id; hostname; cat /volume/data /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj
       mkdir /scratch/x 2>/dev/null || echo confined; touch /x 2>/dev/null || echo read-only
       grep NoNewPrivs /proc/self/status; ulimit -c`,
    );
    const expected =
      'uid=1000(alice) gid=1000(alice) groups=55,1000(alice)\nhere\nshared\n1\n500\nconfined\nread-only\n';
    expect({ status, stdout, stderr }).toEqual({
      status: 0,
      stdout: `${expected}NoNewPrivs:\t1\n0\n`,
      stderr: '',
    });
  });

  it('changes limits of what runs', async (context) => {
    needs(context, 'cgroupV1');
    await docker.detached('limits', ['-m', '64m'], 'sleep', '1000');
    const limits = [
      '-m',
      '32m',
      '--memory-swap',
      '64m',
      '--cpus',
      '1.5',
      '--cpu-shares',
      '512',
      '--pids-limit',
      '9',
    ];
    await docker.ok('update', ...limits, 'limits');
    const files = ['memory/memory.limit_in_bytes', 'cpu/cpu.cfs_quota_us', 'cpu/cpu.shares', 'pids/pids.max'];
    const read = await docker.ok('exec', 'limits', 'cat', ...files.map((file) => `/sys/fs/cgroup/${file}`));
    expect(read.split('\n')).toEqual(['33554432', '150000', '512', '9']);
    const refused = await docker.run(['update', '--cpuset-cpus', '0-9999', 'limits']);
    expect(refused.status).toBe(1);
    await docker.ok('rm', '--force', 'limits');
  });

  it('gives what is privileged the host’s devices, and lets nobody change the host’s parameters', async () => {
    const seen = await docker.container(
      ['--privileged'],
      'sh',
      '-c',
      'ls /dev/kmsg && grep Seccomp: /proc/self/status',
    );
    expect(seen).toEqual({ status: 0, stdout: '/dev/kmsg\nSeccomp:\t0\n', stderr: '' });
    const before = readFileSync('/proc/sys/net/ipv4/ip_default_ttl', 'utf8');
    const host = [
      'run',
      '--rm',
      '--network',
      'host',
      '--sysctl',
      'net.ipv4.ip_default_ttl=99',
      IMAGE,
      'true',
    ];
    const refused = await docker.run(host);
    expect(refused.stderr).toContain(
      'belongs to the network namespace, and the container has none of its own',
    );
    expect(readFileSync('/proc/sys/net/ipv4/ip_default_ttl', 'utf8')).toBe(before);
  });

  it('builds images, whose health it checks', async () => {
    const folder = join(docker.host.folder, 'context');
    mkdirSync(folder);
    writeFileSync(
      join(folder, 'Dockerfile'),
      `FROM ${IMAGE}
RUN echo built > /built && id -u
USER 1000
RUN id -u; ls /built
HEALTHCHECK --interval=200ms --retries=1 CMD test -e /tmp/well
CMD ["cat", "/built"]
`,
    );
    const built = await docker.run(['build', '--network', 'none', '--tag', 'built', folder]);
    expect(built.status, built.stderr).toBe(0);
    expect(built.stdout).toMatch(/^0\n[\s\S]*^1000\n\/built\n/m);
    expect(await docker.ok('run', '--rm', '--network', 'none', 'built')).toBe('built');
    await docker.ok('run', '-d', '--name', 'patient', '--network', 'none', 'built', 'sleep', '1000');
    const health = () => docker.inspect('patient', '{{.State.Health.Status}}');
    await until('it is ill', async () => (await health()) === 'unhealthy');
    await docker.ok('exec', 'patient', 'touch', '/tmp/well');
    await until('it is well', async () => (await health()) === 'healthy');
    await docker.ok('rm', '--force', 'patient');
  });

  it('restarts what fails, and tells of what had no memory left', async () => {
    const words = ['run', '-d', '--name', 'again', '--network', 'none', '--restart', 'on-failure:2'];
    await docker.ok(
      ...words,
      '-m',
      '16m',
      '--memory-swap',
      '16m',
      IMAGE,
      'busybox',
      'dd',
      'if=/dev/zero',
      'of=/dev/null',
      'bs=64M',
      'count=1',
    );
    const state = () =>
      docker.inspect('again', '{{.RestartCount}} {{.State.Status}} {{.State.OOMKilled}} {{.State.ExitCode}}');
    await until('it has been restarted twice', async () => (await state()) === '2 exited true 137');
    await docker.ok('rm', 'again');
  });

  it('copies files into containers and out of them, and shares their namespaces', async () => {
    const { folder } = docker.host;
    await docker.detached(
      'first',
      ['--ipc', 'shareable'],
      'sh',
      '-c',
      'echo made > /tmp/file; exec sleep 1000',
    );
    await until(
      'it is made',
      async () => (await docker.run(['exec', 'first', 'sh', '-c', '[ -s /tmp/file ]'])).status === 0,
    );
    await docker.ok('cp', 'first:/tmp/file', join(folder, 'copied'));
    expect(readFileSync(join(folder, 'copied'), 'utf8')).toBe('made\n');
    await docker.ok('cp', join(folder, 'copied'), 'first:/tmp/back');
    expect(await docker.ok('exec', 'first', 'cat', '/tmp/back')).toBe('made');
    const shared = ['--network', 'container:first', '--pid', 'container:first', '--ipc', 'container:first'];
    const seen = await docker.ok('run', '--rm', ...shared, IMAGE, 'cat', '/proc/1/cmdline');
    expect(seen).toBe('sleep\x001000\0');
    await docker.ok('rm', '--force', 'first');
  });

  it('leaves nothing', async () => {
    expect(await docker.settled()).toEqual([]);
  });
});
