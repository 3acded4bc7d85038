/**
 * Podman with our runtime: what it starts, what it makes the runtime do later, and that nothing is left. Its life cycle is tested with and
 * without a resident engine, all else with one.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { IMAGE, SHOW_TERMINAL, until } from './support/clients.js';
import { needs } from './support/needs.js';
import { Podman } from './support/podman.js';

/** The lines of a terminal's output. */
function lines(text: string): string[] {
  return text.split('\r\n').filter((line) => line !== '');
}

describe.each(['cold', 'resident'] as const)('podman over the %s runtime', (kind) => {
  let podman: Podman;
  beforeAll(async () => {
    podman = new Podman(kind);
    if (process.getuid?.() === 0) await podman.start();
  });
  beforeEach((context) => needs(context, 'root'));
  afterAll(() => podman.end());

  it('hands on input, output, errors and the exit status of run', async () => {
    const { status, stdout, stderr } = await podman.run(
      ['run', '--rm', '-i', '--network', 'none', IMAGE, 'sh', '-c', 'cat; echo error >&2; exit 7'],
      { stdin: 'typed\n' },
    );
    expect({ status, stdout, stderr }).toEqual({ status: 7, stdout: 'typed\n', stderr: 'error\n' });
  });

  it('tells what cannot be executed by 127 and 126, with our sentence', async () => {
    const missing = await podman.container(['--rm'], '/no/such');
    expect(missing.status).toBe(127);
    expect(missing.stderr).toContain('cannot find the program /no/such');
    const folder = await podman.container(['--rm'], '/etc');
    expect(folder.status).toBe(126);
    expect(folder.stderr).toContain('EACCES (permission denied)');
  });

  it('runs on a terminal of the caller’s size', async () => {
    const { status, stdout } = await podman.onTerminal(
      ...['run', '--rm', '-it', '--network', 'none', IMAGE, 'sh', '-c', `${SHOW_TERMINAL}; exit 3`],
    );
    expect(lines(stdout)).toEqual(['/dev/pts/0', '33 99']);
    expect(status).toBe(3);
  });

  it('leads a container through its life', async () => {
    const script = 'trap "echo told; exit 5" TERM; echo begun; while :; do sleep 0.1; done';
    await podman.detached('life', [], 'sh', '-c', script);
    const state = () => podman.ok('inspect', 'life', '--format', '{{.State.Status}} {{.State.ExitCode}}');
    expect(await state()).toBe('running 0');

    const executed = await podman.run(
      ['exec', '-i', '-u', '1000', '-e', 'A=b', 'life', 'sh', '-c', 'cat; id -u; echo $A; exit 6'],
      {
        stdin: 'typed\n',
      },
    );
    expect([executed.status, executed.stdout]).toEqual([6, 'typed\n1000\nb\n']);
    const onTerminal = await podman.onTerminal('exec', '-it', 'life', 'sh', '-c', `${SHOW_TERMINAL}; exit 4`);
    expect(lines(onTerminal.stdout)).toEqual(['/dev/pts/0', '33 99']);
    expect(onTerminal.status).toBe(4);
    expect((await podman.run(['exec', 'life', '/no/such'])).status).toBe(127);

    expect(await podman.ok('top', 'life')).toContain('while :; do sleep 0.1; done');
    const [name, processes] = (
      await podman.ok('stats', '--no-stream', '--format', '{{.Name}} {{.PIDs}}', 'life')
    ).split(' ');
    expect(name).toBe('life');
    expect(Number(processes)).toBeGreaterThan(0);

    await podman.ok('pause', 'life');
    expect(await state()).toBe('paused 0');
    await podman.ok('unpause', 'life');
    await podman.ok('update', '--memory', '64m', 'life');

    await podman.ok('stop', '--time', '20', 'life');
    expect(await state()).toBe('exited 5');
    expect(await podman.ok('logs', 'life')).toBe('begun\ntold');
    await podman.ok('start', 'life');
    await podman.ok('kill', 'life');
    expect(await podman.ok('wait', 'life')).toBe('137');
    await podman.ok('rm', 'life');
    expect(await podman.host.settled()).toEqual([]);
  });

  it('removes a container that runs, and one that was never started', async () => {
    await podman.detached('running', [], 'sleep', '1000');
    await podman.ok(
      'create',
      '--name',
      'waiting',
      '--network',
      'none',
      '--cgroup-parent',
      `/${podman.host.name}`,
      IMAGE,
      'true',
    );
    await podman.ok('init', 'waiting');
    expect(podman.host.left()).not.toEqual([]);
    await podman.ok('rm', '--force', '--time', '0', 'running', 'waiting');
    expect(await podman.host.settled()).toEqual([]);
  });

  it('is served by the engine that listens, and by none where there is none', () => {
    if (kind === 'resident') expect(podman.host.served).toBeGreaterThan(10);
    else expect(podman.host.served).toBe(0);
  });
});

describe('podman', () => {
  let podman: Podman;
  beforeAll(async () => {
    podman = new Podman('resident');
    if (process.getuid?.() === 0) await podman.start();
  });
  beforeEach((context) => needs(context, 'root'));
  afterAll(() => podman.end());

  it('confines as it is asked to', async () => {
    const { folder } = podman.host;
    mkdirSync(join(folder, 'volume'));
    writeFileSync(join(folder, 'volume/data'), 'shared\n');
    const profile = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 }],
    };
    writeFileSync(join(folder, 'seccomp.json'), JSON.stringify(profile));
    const { status, stdout, stderr } = await podman.container(
      [
        ...[
          '--rm',
          '--read-only',
          '--tmpfs',
          '/scratch:size=1m,mode=700',
          '-v',
          `${folder}/volume:/volume:ro`,
        ],
        ...[
          '--cap-drop',
          'all',
          '--cap-add',
          'NET_ADMIN',
          '--security-opt',
          `seccomp=${folder}/seccomp.json`,
        ],
        ...['--security-opt', 'no-new-privileges', '--hostname', 'here', '--sysctl', 'net.ipv4.ip_forward=1'],
        ...[
          '--user',
          '1000:1000',
          '--group-add',
          '55',
          '--oom-score-adj',
          '500',
          '-m',
          '32m',
          '--pids-limit',
          '9',
        ],
      ],
      ...[
        'sh',
        '-c',
        'id; hostname; cat /volume/data /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj',
      ],
    );
    expect({ status, stdout, stderr }).toEqual({
      status: 0,
      stdout: 'uid=1000(alice) gid=1000(alice) groups=55,1000(alice)\nhere\nshared\n1\n500\n',
      stderr: '',
    });
  });

  it('limits what it is asked to limit', async (context) => {
    needs(context, 'cgroupV1');
    const limits = [
      '--memory',
      '32m',
      '--memory-swap',
      '64m',
      '--cpus',
      '0.5',
      '--cpu-shares',
      '512',
      '--pids-limit',
      '9',
    ];
    const files = [
      'memory/memory.limit_in_bytes',
      'memory/memory.memsw.limit_in_bytes',
      'cpu/cpu.cfs_quota_us',
      'cpu/cpu.shares',
      'pids/pids.max',
    ];
    const { stdout } = await podman.container(
      ['--rm', ...limits],
      'cat',
      ...files.map((file) => `/sys/fs/cgroup/${file}`),
    );
    expect(stdout.trim().split('\n')).toEqual(['33554432', '67108864', '50000', '512', '9']);
  });

  it('maps users', async () => {
    const maps = ['--uidmap', '0:100000:1000', '--gidmap', '0:200000:1000'];
    const script = 'cat /proc/self/uid_map /proc/self/gid_map; touch /made; stat -c %u /made';
    const { status, stdout } = await podman.container(['--rm', ...maps], 'sh', '-c', script);
    expect([status, ...stdout.trim().split(/\s+/)]).toEqual([
      0,
      ...'0 100000 1000 0 200000 1000 0'.split(' '),
    ]);
  });

  it('gives systemd its place', async () => {
    const script = 'grep -q " /sys/fs/cgroup" /proc/mounts && stat -c %F /run/lock';
    const { status, stdout, stderr } = await podman.container(
      ['--rm', '--systemd=always'],
      'sh',
      '-c',
      script,
    );
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'directory\n', stderr: '' });
  });

  it('publishes a port and connects containers', async (context) => {
    needs(context, 'firewall');
    const serve = 'mkdir /www; echo page > /www/index.html; exec busybox httpd -f -p 80 -h /www';
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    await podman.detached('web', ['-p', `${port}:80`], 'sh', '-c', serve);
    const page = () =>
      fetch(`http://127.0.0.1:${port}/`).then(
        (answer) => answer.text(),
        () => '',
      );
    await until('the page comes', async () => (await page()) === 'page\n');
    const address = await podman.ok(
      'inspect',
      'web',
      '--format',
      '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}',
    );
    const get = (place: string) => ['busybox', 'wget', '-qO-', `http://${place}/`];
    const other = await podman.container(['--rm', '--network', 'test'], ...get(address));
    expect([other.status, other.stdout]).toEqual([0, 'page\n']);
    const inside = await podman.container(['--rm', '--network', 'container:web'], ...get('127.0.0.1'));
    expect([inside.status, inside.stdout]).toEqual([0, 'page\n']);
    await podman.ok('rm', '--force', '--time', '0', 'web');
    expect(await page()).toBe('');
  });

  it('runs pods', async () => {
    const pod = ['pod', 'create', '--name', 'pod', '--share', 'net,ipc,uts', '--network', 'none'];
    await podman.ok(
      ...pod,
      '--infra-image',
      IMAGE,
      '--infra-command',
      '/bin/sleep 1000',
      '--cgroup-parent',
      `/${podman.host.name}`,
    );
    await podman.detached('member', ['--pod=pod'], 'busybox', 'httpd', '-f', '-p', '99', '-h', '/etc');
    await podman.ok('pod', 'pause', 'pod');
    await podman.ok('pod', 'unpause', 'pod');
    const { status, stdout } = await podman.container(
      ['--rm', '--pod=pod'],
      'sh',
      '-c',
      'hostname; until busybox wget -qO- http://127.0.0.1:99/group; do sleep 0.1; done',
    );
    expect([status, stdout]).toEqual([0, 'pod\nroot:x:0:\nalice:x:1000:\n']);
    await podman.ok('pod', 'stop', '--time', '0', 'pod');
    await podman.ok('pod', 'rm', '--force', 'pod');
    expect(await podman.host.settled()).toEqual([]);
  });

  it('builds images', async () => {
    const folder = join(podman.host.folder, 'context');
    mkdirSync(folder);
    writeFileSync(
      join(folder, 'Containerfile'),
      `FROM ${IMAGE}\nRUN echo built > /built && id -u\nUSER 1000\nRUN id -u; ls /built\nCMD ["cat", "/built"]\n`,
    );
    const built = 'localhost/built';
    const options = ['--isolation', 'oci', '--network', 'none', '--tag', built];
    const { status, stdout, stderr } = await podman.run(['build', ...options, folder]);
    expect(status, stderr).toBe(0);
    expect(stdout).toMatch(/^0\n[\s\S]*^1000\n\/built\n/m);
    expect(await podman.ok('run', '--rm', '--network', 'none', built)).toBe('built');
  });

  it('checks health and restarts', async () => {
    const health = [
      '--health-cmd',
      'test -e /tmp/well',
      '--health-interval',
      'disable',
      '--health-retries',
      '1',
    ];
    await podman.detached('patient', health, 'sleep', '1000');
    expect((await podman.run(['healthcheck', 'run', 'patient'])).status).toBe(1);
    await podman.ok('exec', 'patient', 'touch', '/tmp/well');
    expect((await podman.run(['healthcheck', 'run', 'patient'])).status).toBe(0);
    const { status } = await podman.container(
      ['--name', 'again', '--restart', 'on-failure:2'],
      'sh',
      '-c',
      'echo try; exit 1',
    );
    expect(status).toBe(1);
    await until(
      'two restarts',
      async () => (await podman.ok('inspect', 'again', '--format', '{{.RestartCount}}')) === '2',
    );
    await podman.ok('rm', '--force', '--time', '0', 'patient', 'again');
  });

  it('starts and executes several at once', async () => {
    await podman.detached('many', [], 'sleep', '1000');
    const numbers = [1, 2, 3, 4, 5, 6];
    const started = numbers.map((n) => podman.container(['--rm'], 'sh', '-c', `echo ${n}; exit ${n}`));
    const executed = numbers.map((n) => podman.run(['exec', 'many', 'sh', '-c', `echo ${n}; exit ${n}`]));
    const outcomes = await Promise.all([...started, ...executed]);
    expect(outcomes.map(({ status, stdout }) => [status, stdout])).toEqual(
      [...numbers, ...numbers].map((n) => [n, `${n}\n`]),
    );
    await podman.ok('rm', '--force', '--time', '0', 'many');
  });

  it('leaves nothing', async () => {
    expect(await podman.host.settled()).toEqual([]);
  });
});
