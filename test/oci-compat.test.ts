/** Where clients count on what runc does, beyond the specification: each of these is a difference that somebody would notice. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from './support/needs.js';
import { OciTest } from './support/oci.js';

let t: OciTest;
beforeEach((context) => {
  needs(context, 'root');
  t = new OciTest();
});
afterEach(() => t?.end());

test('a terminal in the foreground ends lines as the program does', async () => {
  const bundle = await t.bundle('tty >/dev/null && echo one && echo two', (config) => {
    config.process.terminal = true;
  });
  expect(await t.oci(['run', '-b', bundle, 'one'])).toMatchObject({ status: 0, stdout: 'one\ntwo\n' });
});

test.each(['echo $((6 * 7))\n', 'echo $((6 * 7))', ''])(
  'a script through a pipe %j ends a terminal’s shell',
  async (stdin) => {
    const bundle = await t.bundle('stty -echo; sh; echo over', (config) => {
      config.process.terminal = true;
    });
    const { status, stdout } = await t.oci(['run', '-b', bundle, 'one'], { stdin });
    expect({ status, answered: stdout.includes('42'), over: stdout.includes('over') }).toEqual({
      status: 0,
      answered: stdin !== '',
      over: true,
    });
  },
);

test('a created container hears SIGTERM, though its first process has a pid namespace', async () => {
  await t.ok('create', '-b', await t.bundle('sleep 1000'), 'one');
  await t.ok('kill', 'one', 'TERM');
  await t.stopped('one');
  await t.ok('delete', 'one');
  expect(t.left()).toEqual([]);
});

test('a created container can be deleted, a running one cannot', async () => {
  const bundle = await t.bundle('sleep 1000');
  await t.ok('create', '-b', bundle, 'one');
  await t.ok('delete', 'one');
  expect(t.left()).toEqual([]);
  await t.ok('run', '-d', '-b', bundle, 'two');
  expect((await t.oci(['delete', 'two'])).stderr).toContain(
    'cannot delete container two that is not stopped: running',
  );
  await t.ok('delete', '--force', 'two');
  expect(t.left()).toEqual([]);
});

test('a read-only /dev has its devices all the same', async () => {
  const bundle = await t.bundle('echo x > /dev/null && ls -l /dev/stdin && ! touch /dev/new', (config) => {
    config.mounts = config.mounts.filter(
      ({ destination }: { destination: string }) => destination !== '/dev',
    );
    config.mounts.unshift({ destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'ro'] });
  });
  const { status, stderr } = await t.oci(['run', '-b', bundle, 'one']);
  expect(stderr).toContain('Read-only file system');
  expect(status).toBe(0);
});

test('masked folders share one file system, which is empty and read-only', async () => {
  const bundle = await t.bundle(
    'set -- $(stat -c %d /a /b) && [ $1 = $2 ] && [ -z "$(ls /a /b | grep -v :)" ] && ! touch /a/x && ! touch /b/x',
    (config) => {
      config.root.readonly = false;
      config.linux.maskedPaths = ['/a', '/b', '/file'];
    },
  );
  for (const name of ['a', 'b']) {
    mkdirSync(join(bundle, 'rootfs', name));
    writeFileSync(join(bundle, 'rootfs', name, 'secret'), '');
  }
  writeFileSync(join(bundle, 'rootfs/file'), 'secret');
  const { status, stderr } = await t.oci(['run', '-b', bundle, 'one']);
  expect(stderr.match(/Read-only file system/g)).toHaveLength(2);
  expect(status).toBe(0);
});

test("the caller's CPU affinity is not the container's, nor exec's", async () => {
  if (availableParallelism() < 2) return;
  const self = readFileSync('/proc/self/status', 'utf8');
  const all = /Cpus_allowed_list:\s+(\S+)/.exec(self)?.[1] ?? '';
  const under = ['taskset', '-c', all.split(/[-,]/)[0] ?? '0'];
  const bundle = await t.bundle('grep Cpus_allowed_list /proc/self/status');
  expect((await t.oci(['run', '-b', bundle, 'one'], { under })).stdout).toContain(`\t${all}\n`);
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'two');
  const exec = ['exec', 'two', 'grep', 'Cpus_allowed_list', '/proc/self/status'];
  expect((await t.oci(exec, { under })).stdout).toContain(`\t${all}\n`);
});

test('a bind mount with options allows what they say, and without any what its source allows', async () => {
  const bundle = await t.bundle("awk '$2 ~ /^.m/ {print $2, $4}' /proc/self/mounts", (config) => {
    const source = join(t.folder, 'source');
    mkdirSync(source);
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'nosuid,noexec,noatime', 'tvmm-test', source]);
    for (const [at, options] of [
      ['/m1', ['bind']],
      ['/m2', ['bind', 'ro']],
      ['/m3', ['bind', 'nodev', 'relatime']],
    ] as const)
      config.mounts.push({ destination: at, source, options });
  });
  try {
    const flags = (await t.ok('run', '-b', bundle, 'one')).split('\n');
    expect(flags[0]).toMatch(/^\/m1 rw,nosuid,noexec,noatime/);
    expect(flags[1]).toMatch(/^\/m2 ro,noatime/);
    expect(flags[2]).toMatch(/^\/m3 rw,nodev,relatime/);
  } finally {
    spawnSync('umount', [join(t.folder, 'source')]);
  }
});

test("a destination may name its place by the root's path on the host", async () => {
  const bundle = await t.bundle("grep -o ' /there tmpfs' /proc/self/mounts", (config) => {
    config.mounts.push({ destination: join(t.folder, 'nothing'), type: 'tmpfs', source: 'tmpfs' });
  });
  const config = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8'));
  config.mounts.at(-1).destination = join(bundle, 'rootfs', 'there');
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
  mkdirSync(join(bundle, 'rootfs/there'));
  expect(await t.ok('run', '-b', bundle, 'one')).toBe(' /there tmpfs\n');
});

test('a program that root alone may execute runs for a user with CAP_DAC_OVERRIDE', async () => {
  const sets = ['bounding', 'permitted', 'effective', 'inheritable', 'ambient'];
  const bundle = await t.bundle('true', (config) => {
    config.process.args = ['/own'];
    config.process.user = { uid: 1000, gid: 1000 };
    config.process.capabilities = Object.fromEntries(sets.map((set) => [set, ['CAP_DAC_OVERRIDE']]));
  });
  writeFileSync(join(bundle, 'rootfs/own'), '#!/bin/sh\nid -u\n', { mode: 0o744 });
  const { status, stdout, stderr } = await t.oci(['run', '-b', bundle, 'one']);
  expect(stderr).toBe('');
  expect({ status, stdout }).toEqual({ status: 0, stdout: '1000\n' });
});

test('startContainer hooks run under the seccomp filter', async () => {
  const bundle = await t.bundle('true', (config) => {
    config.process.noNewPrivileges = true;
    config.linux.seccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_KILL' }],
    };
    config.process.rlimits = [{ type: 'RLIMIT_CORE', soft: 0, hard: 0 }];
    config.hooks = { startContainer: [{ path: '/bin/sh', args: ['sh', '-c', 'exec mkdir /dev/shm/x'] }] };
  });
  const { status, stderr } = await t.oci(['run', '-b', bundle, 'one']);
  expect(status).not.toBe(0);
  expect(stderr).toContain('error running startContainer hook #0: ');
  expect(stderr).toContain('bad system call');
});

test('hooks of the engine always know the pid', async () => {
  const seen = join(t.folder, 'pids');
  const bundles: string[] = [];
  for (let n = 0; n < 6; n++)
    bundles.push(
      await t.bundle('true', (config) => {
        config.hooks = {
          createRuntime: [{ path: '/bin/sh', args: ['sh', '-c', `cat > ${seen}-${n}`] }],
        };
      }),
    );
  // Together: it is a matter of which process is the faster one.
  await Promise.all(bundles.map((bundle, n) => t.ok('run', '-b', bundle, `c${n}`)));
  for (const n of bundles.keys())
    expect(JSON.parse(readFileSync(`${seen}-${n}`, 'utf8')).pid).toBeGreaterThan(0);
});

test('HOME is the user’s where the configuration leaves it empty', async () => {
  const bundle = await t.bundle('echo $HOME', (config) => {
    config.process.env = [...(config.process.env ?? []), 'HOME=/other', 'HOME='];
  });
  mkdirSync(join(bundle, 'rootfs/etc'), { recursive: true });
  writeFileSync(join(bundle, 'rootfs/etc/passwd'), 'root:x:0:0:root:/home/of/root:/bin/sh\n');
  expect(await t.ok('run', '-b', bundle, 'one')).toBe('/home/of/root\n');
});

test('list tells states in runc’s order, and refuses a root that is not there', async () => {
  await t.ok('create', '-b', await t.bundle('true'), 'one');
  const [first] = JSON.parse(await t.ok('list', '-f', 'json'));
  expect(Object.keys(first)).toEqual([
    'ociVersion',
    'id',
    'pid',
    'status',
    'bundle',
    'rootfs',
    'created',
    'owner',
  ]);
  expect((await t.oci(['--root', join(t.folder, 'nowhere'), 'list'])).status).toBe(1);
  await t.ok('delete', 'one');
});

test('--debug tells the stages of a launch in the log, and nowhere else', async () => {
  const log = join(t.folder, 'log');
  const bundle = await t.bundle('true');
  expect(
    (await t.oci(['--debug', '--log', log, '--log-format', 'json', 'run', '-b', bundle, 'one'])).stderr,
  ).toBe('');
  const lines = readFileSync(log, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map(({ level }) => level)).toEqual(lines.map(() => 'debug'));
  // Two processes of the launch tell the last two, in any order.
  const stages = ['child process in init()', 'init', 'nsexec container setup'];
  expect(lines.map(({ msg }) => msg.split(':')[0]).sort()).toEqual(stages);
});

test('exec --cgroup does not lead out of the container’s cgroup', async () => {
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'one');
  const { status, stderr } = await t.oci(['exec', '--cgroup', '..', 'one', 'true']);
  expect({ status, bad: stderr.includes('bad sub cgroup path') }).toEqual({ status: 255, bad: true });
  expect((await t.oci(['exec', '--cgroup', '/', 'one', 'true'])).status).toBe(0);
});

test('the example of spec has a cgroup namespace with cgroup v2 alone, as runc’s', async () => {
  const unified = statSync('/sys/fs/cgroup/cgroup.controllers', { throwIfNoEntry: false }) !== undefined;
  await t.ok('spec', '-b', t.folder);
  const { linux } = JSON.parse(readFileSync(join(t.folder, 'config.json'), 'utf8'));
  expect(linux.namespaces.some(({ type }: { type: string }) => type === 'cgroup')).toBe(unified);
});
