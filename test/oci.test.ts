/** The life of containers through `tvmm-oci`, as its clients lead it. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { needs } from './support/needs.js';
import { type Config, OciTest } from './support/oci.js';

let t: OciTest;
beforeEach(() => {
  t = new OciTest();
});
afterEach(() => t.end());

test('create, start, kill and delete lead through the specified states and leave nothing', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('echo ran > /tmp/ran; sleep 1000', (config) => {
    config.root.readonly = false;
    config.annotations = { 'dev.tvmm.test': 'yes' };
  });
  const pidFile = join(t.folder, 'pid');
  await t.ok('create', '--bundle', bundle, '--pid-file', pidFile, 'one');
  const state = JSON.parse(await t.ok('state', 'one'));
  expect(state).toMatchObject({
    id: 'one',
    status: 'created',
    bundle,
    pid: Number(readFileSync(pidFile, 'utf8')),
    annotations: { 'dev.tvmm.test': 'yes' },
  });
  expect(existsSync(join(bundle, 'rootfs/tmp/ran'))).toBe(false);
  await t.ok('start', 'one');
  expect(await t.status('one')).toBe('running');
  expect((await t.oci(['start', 'one'])).stderr).toContain('already running');
  expect((await t.oci(['delete', 'one'])).status).toBe(1);
  await t.ok('kill', 'one', 'KILL');
  await t.stopped('one');
  expect((await t.oci(['kill', 'one', 'KILL'])).stderr).toContain('container not running');
  expect((await t.oci(['start', 'one'])).stderr).toContain('stopped');
  await t.ok('delete', 'one');
  expect((await t.oci(['state', 'one'])).stderr).toContain('container does not exist');
  expect(t.left()).toEqual([]);
});

test('run hands on the program’s streams and its exit status, and deletes the container', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('cat; echo err >&2; exit 7');
  const outcome = await t.oci(['run', '--bundle', bundle, 'one'], { stdin: 'typed\n' });
  expect(outcome).toEqual({ status: 7, stdout: 'typed\n', stderr: 'err\n' });
  expect(t.left()).toEqual([]);
});

test('run ends with 128 and the number of the signal that ended the program', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('kill -9 $$; sleep 10', (config) => {
    config.linux.namespaces = config.linux.namespaces.filter(({ type }: { type: string }) => type !== 'pid');
  });
  expect((await t.oci(['run', '-b', bundle, 'one'])).status).toBe(137);
  expect(t.left()).toEqual([]);
});

test('run --keep leaves a stopped container, and --detach one that runs', async (context) => {
  needs(context, 'root');
  await t.oci(['run', '--keep', '-b', await t.bundle('true'), 'kept']);
  expect(await t.status('kept')).toBe('stopped');
  await t.ok('run', '--detach', '-b', await t.bundle('sleep 1000'), 'detached');
  expect(await t.status('detached')).toBe('running');
  const list = JSON.parse(await t.ok('list', '--format', 'json'));
  expect(list.map(({ id }: { id: string }) => id)).toEqual(['detached', 'kept']);
  expect(await t.ok('list', '-q')).toBe('detached\nkept\n');
  expect(await t.ok('list')).toMatch(/^ID +PID +STATUS +BUNDLE +CREATED +OWNER\ndetached/);
  await t.ok('delete', '-f', 'detached');
  await t.ok('delete', 'kept');
  expect(t.left()).toEqual([]);
});

test('exec runs in the container’s namespaces and cgroup with the exit status of its program', async (context) => {
  needs(context, 'root');
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'one');
  const outcome = await t.oci([
    'exec',
    '--env',
    'A=b c',
    '--cwd',
    '/tmp',
    'one',
    'sh',
    '-c',
    'echo "$A"; hostname; pwd; ps; exit 9',
  ]);
  expect(outcome).toMatchObject({ status: 9, stderr: '' });
  expect(outcome.stdout).toMatch(/^b c\ntvmm\n\/tmp\n/);
  expect(outcome.stdout).toContain('sleep 1000');
  const [init] = JSON.parse(await t.ok('ps', '--format', 'json', 'one'));
  const cgroup = (pid: string) => readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  const pidFile = join(t.folder, 'exec-pid');
  await t.ok('exec', '-d', '--pid-file', pidFile, 'one', 'sleep', '999');
  const pid = readFileSync(pidFile, 'utf8');
  expect(cgroup(pid)).toBe(cgroup(init));
  expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toBe('sleep\x00999\x00');
  expect(JSON.parse(await t.ok('ps', '-f', 'json', 'one'))).toContain(Number(pid));
  expect(await t.ok('ps', 'one', '-o', 'pid,args')).toMatch(/PID +COMMAND\n.*sleep 1000\n.*sleep 999\n/);
});

test('exec takes its process from a file', async (context) => {
  needs(context, 'root');
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'one');
  const file = join(t.folder, 'process.json');
  writeFileSync(
    file,
    JSON.stringify({ args: ['/bin/sh', '-c', 'id -u; pwd'], cwd: '/bin', user: { uid: 5, gid: 6 } }),
  );
  expect(await t.ok('exec', '--process', file, 'one')).toBe('5\n/bin\n');
  writeFileSync(file, '{"args": [], "cwd": "bin", "user": {"uid": -1}}');
  const refused = await t.oci(['exec', '--process', file, 'one']);
  expect(refused.status).toBe(255);
  expect(refused.stderr).toContain('cwd');
});

describe('a command that cannot be executed', () => {
  beforeEach((context) => needs(context, 'root'));

  test.each([
    [['one', '/no/such/program'], 'no such file or directory'],
    [['one', 'no-such-program'], 'no such file or directory'],
    [['one', '/etc'], 'permission denied'],
    [['one'], 'exec args cannot be empty'],
    [['two', 'true'], 'container does not exist'],
    [['--cwd', 'relative', 'one', 'true'], 'Cwd must be an absolute path'],
    [['--user', 'root', 'one', 'true'], 'bad uid'],
  ])('exec %j fails with status 255 and says %j', async (args, message) => {
    await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'one');
    const outcome = await t.oci(['exec', ...args]);
    expect(outcome.status).toBe(255);
    expect(outcome.stderr).toContain(message);
    expect(outcome.stderr.split('\n')).toHaveLength(2);
  });
});

test('a paused container stands still, refuses exec, and dies of SIGKILL all the same', async (context) => {
  needs(context, 'root');
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'one');
  await t.ok('pause', 'one');
  expect(await t.status('one')).toBe('paused');
  expect((await t.oci(['exec', 'one', 'true'])).stderr).toContain('paused');
  expect((await t.oci(['pause', 'one'])).status).toBe(1);
  await t.ok('resume', 'one');
  expect(await t.status('one')).toBe('running');
  expect((await t.oci(['resume', 'one'])).stderr).toContain('not paused');
  await t.ok('pause', 'one');
  await t.ok('kill', 'one', 'KILL');
  await t.stopped('one');
  await t.ok('delete', 'one');
  expect(t.left()).toEqual([]);
});

test('a container that shares the pid namespace is killed with all its processes', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('sleep 1001 & sleep 1002 & wait', (config) => {
    config.linux.namespaces = config.linux.namespaces.filter(({ type }: { type: string }) => type !== 'pid');
  });
  await t.ok('run', '-d', '-b', bundle, 'one');
  expect(JSON.parse(await t.ok('ps', '-f', 'json', 'one')).length).toBeGreaterThan(1);
  await t.ok('kill', '--all', 'one', 'KILL');
  await t.stopped('one');
  await t.ok('kill', '--all', 'one', 'KILL');
  await t.ok('delete', 'one');
  expect(t.left()).toEqual([]);
});

test('update changes limits, and events tells statistics', async (context) => {
  needs(context, 'root');
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'one');
  await t.ok('update', '--memory', '64M', '--pids-limit', '33', 'one');
  const stats = () => t.ok('events', '--stats', 'one').then((text) => JSON.parse(text));
  expect(await stats()).toMatchObject({
    type: 'stats',
    id: 'one',
    data: { memory: { usage: { limit: 64 * 2 ** 20 } }, pids: { limit: 33, current: 1 } },
  });
  const outcome = await t.oci(['update', '--resources', '-', 'one'], { stdin: '{"pids": {"limit": 44}}' });
  expect(outcome.status).toBe(0);
  expect((await stats()).data.pids.limit).toBe(44);
  expect((await t.oci(['update', '--memory', 'lots', 'one'])).stderr).toContain('invalid value for memory');
});

test('parents of cgroups go with the last container below them, and stay where others have made them', async (context) => {
  needs(context, 'root', 'cgroupV1');
  const below = (parent: string) => (config: Config) => {
    config.linux.cgroupsPath = `/${t.name}/${parent}/${config.process.args.at(-1)}`;
  };
  const theirs = `/sys/fs/cgroup/pids/${t.name}/theirs`;
  for (const [id, parent] of [
    ['one', 'pod'],
    ['two', 'pod'],
    ['three', 'theirs'],
  ] as const) {
    if (parent === 'theirs') mkdirSync(theirs);
    const bundle = await t.bundle(id, below(parent));
    await t.ok('create', '--bundle', bundle, id);
  }
  for (const id of ['one', 'two', 'three']) await t.ok('delete', '--force', id);
  const hierarchies = readdirSync('/sys/fs/cgroup').map((name) => `/sys/fs/cgroup/${name}/${t.name}`);
  expect(hierarchies.filter((folder) => existsSync(folder))).toEqual([dirname(theirs)]);
  expect(
    readdirSync(dirname(theirs), { withFileTypes: true }).filter((entry) => entry.isDirectory()),
  ).toHaveLength(1);
  for (const folder of [theirs, dirname(theirs)]) rmdirSync(folder);
  expect(t.left()).toEqual([]);
});

test('an id is taken only once, whoever comes first', async (context) => {
  needs(context, 'root');
  const bundles = await Promise.all([1, 2, 3, 4].map(() => t.bundle('sleep 1000')));
  const outcomes = await Promise.all(bundles.map((bundle) => t.oci(['create', '-b', bundle, 'one'])));
  expect(outcomes.filter(({ status }) => status === 0)).toHaveLength(1);
  for (const { status, stderr } of outcomes) if (status !== 0) expect(stderr).toContain('already exists');
  await t.ok('delete', '--force', 'one');
  expect(t.left()).toEqual([]);
});

test.each([[''], ['../up'], ['a/b'], ['.'], ['ä'], ['a b'], ['x'.repeat(256)]])(
  'the id %j is refused',
  async (id) => {
    const outcome = await t.oci(['create', '-b', t.folder, id]);
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toMatch(/container id/i);
  },
);

test('delete of what does not exist is an error, but for --force', async () => {
  expect((await t.oci(['delete', 'none'])).status).toBe(1);
  expect((await t.oci(['delete', '--force', 'none'])).status).toBe(0);
});

test('config.json is what it was at create', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('echo first');
  const config = join(bundle, 'config.json');
  await t.ok('create', '-b', bundle, 'one');
  writeFileSync(config, readFileSync(config, 'utf8').replace('echo first', 'echo second'));
  await t.ok('start', 'one');
  await t.stopped('one');
  writeFileSync(config, 'nonsense');
  await t.ok('delete', 'one');
});

test('a container without process can be created, not started', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('true', (config) => {
    delete config.process;
  });
  await t.ok('create', '-b', bundle, 'one');
  expect((await t.oci(['start', 'one'])).stderr).toContain('has no process');
  expect(await t.status('one')).toBe('created');
  await t.ok('delete', '--force', 'one');
  expect(t.left()).toEqual([]);
});

test('errors stand in the log file as JSON, and on standard error', async () => {
  const log = join(t.folder, 'log.json');
  const outcome = await t.oci(['--log', log, '--log-format', 'json', 'state', 'none']);
  expect(outcome.status).toBe(1);
  const line = JSON.parse(readFileSync(log, 'utf8'));
  expect(line).toMatchObject({ level: 'error', msg: expect.stringContaining('container does not exist') });
  expect(outcome.stderr.trim()).toBe(line.msg);
});

test('the version is what containerd parses, and features are those of the specification', async () => {
  expect(await t.ok('--version')).toMatch(/^tvmm-oci version \S+\nspec: 1\.\d+\.\d+\n$/);
  const features = JSON.parse(await t.ok('features'));
  expect(features).toMatchObject({ ociVersionMin: '1.0.0', linux: { cgroup: { v1: true, v2: true } } });
  expect(features.hooks).toHaveLength(6);
});

test('help and wrong command lines', async () => {
  expect(await t.ok('--help')).toContain('COMMANDS:');
  expect(await t.ok('create', '--help')).toContain('--console-socket');
  const wrong = await t.oci(['create', '--nonsense', 'one']);
  expect([wrong.status, wrong.stderr]).toEqual([
    1,
    expect.stringContaining('flag provided but not defined: -nonsense'),
  ]);
  expect((await t.oci(['create'])).stderr).toContain('requires exactly 1 argument');
  expect((await t.oci(['nonsense'])).status).toBe(3);
  expect((await t.oci(['--root', '/', 'list'])).stderr).toContain('--root');
});

test('a checkpoint without criu, or of what does not run, is refused with a sentence', async (context) => {
  needs(context, 'root');
  await t.ok('create', '-b', await t.bundle('sleep 1000'), 'one');
  expect((await t.oci(['checkpoint', 'one'])).stderr).toContain('cannot be checkpointed in created state');
  await t.ok('start', 'one');
  const outcome = await t.oci(['--criu', '/no/such/criu', 'checkpoint', '--image-path', t.folder, 'one']);
  expect([outcome.status, outcome.stderr]).toEqual([
    1,
    expect.stringContaining('cannot run /no/such/criu: ENOENT'),
  ]);
  expect(await t.status('one')).toBe('running');
});
