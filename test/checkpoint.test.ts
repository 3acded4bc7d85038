/**
 * What checkpoint and restore do where criu fails or is missing, whatever this machine's criu can do: the container goes on, and nothing is
 * left. That they succeed is shown in checkpoint-lab.test.ts, and here where there is a criu that knows this kernel.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { packageRoot } from 'tvmm';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ConsoleListener, readUntil, type } from './support/console-listener.js';
import { CRIU, needs } from './support/needs.js';
import { OciTest } from './support/oci.js';

let t: OciTest;
beforeEach(() => {
  t = new OciTest();
});
afterEach(() => t.end());

/** A container that counts, to a file of a bind mount. */
async function counting(): Promise<string> {
  const data = join(t.folder, 'data');
  mkdirSync(data);
  const script =
    'i=0; while true; do i=$((i+1)); echo $i > /data/new; mv /data/new /data/count; sleep 0.1; done';
  return await t.bundle(script, ({ mounts }) => {
    mounts.push({ destination: '/data', type: 'bind', source: data, options: ['bind'] });
  });
}

function count(): number {
  return Number(readFileSync(join(t.folder, 'data/count'), 'utf8'));
}

/** Whether the program goes on counting. */
async function counts(): Promise<boolean> {
  for (let tries = 0; tries < 100 && !existsSync(join(t.folder, 'data/count')); tries++) await delay(50);
  const before = count();
  for (let tries = 0; tries < 100; tries++) {
    if (count() > before) return true;
    await delay(50);
  }
  return false;
}

/**
 * Runs a line of shell, in which $OCI is tvmm-oci: streams of Node's are sockets of the host's network namespace, which no criu saves.
 *
 * @returns what it printed
 */
function sh(line: string): string {
  const oci = `${process.execPath} ${join(packageRoot(), 'dist/oci.cjs')} --root ${t.state} --criu ${CRIU}`;
  const { stdout, stderr } = spawnSync('sh', ['-c', line], {
    cwd: t.folder,
    env: { ...process.env, OCI: oci },
    encoding: 'utf8',
  });
  return stdout + stderr;
}

/** Runs a container that is connected to nothing. */
function runQuietly(bundle: string): void {
  expect(sh(`$OCI run --detach -b ${bundle} one </dev/null >/dev/null 2>&1 || echo failed`)).toBe('');
}

/** A program in criu's stead. */
function fake(script: string): string {
  const path = join(t.folder, 'criu');
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

const NOTE = JSON.stringify({ tvmmCheckpoint: 1, mounts: [], streams: [], points: [] });

/** Images of which only our own note is looked at. */
function noted(note: string): void {
  mkdirSync(join(t.folder, 'images'));
  writeFileSync(join(t.folder, 'images/tvmm.json'), note);
}

const FAILURES = {
  'is missing': { criu: '/no/criu', message: /cannot run \/no\/criu: ENOENT.*Install criu/ },
  'ends at once': { script: 'exit 3', message: /failed: it ended early \(exit status 3\).*\.log/ },
  'says why in its log': {
    script:
      'for log in dump restore; do echo "(00.1) Error (criu/x.c:1): no luck" > images/$log.log; done; exit 1',
    message: /failed: no luck\. All that it says is in .*images\/(dump|restore)\.log/,
  },
  'answers nonsense': {
    script: 'dd bs=8192 count=1 of=/dev/null <&3 2>/dev/null; printf "\\377\\377" >&3',
    message: /failed: criu sent a message that is cut off/,
  },
  'answers that it has failed': {
    script: 'dd bs=8192 count=1 of=/dev/null <&3 2>/dev/null; printf "\\010\\001\\020\\000\\112\\003why" >&3',
    message: /failed: why/,
  },
} as const;

describe.each(Object.entries(FAILURES))('where criu %s', (_, failure) => {
  const program = () => ('criu' in failure ? failure.criu : fake(failure.script));

  test('a checkpoint is refused and the container goes on', async (context) => {
    needs(context, 'root');
    await t.ok('run', '--detach', '-b', await counting(), 'one');
    const { status, stderr } = await t.oci([
      '--criu',
      program(),
      'checkpoint',
      '--image-path',
      'images',
      'one',
    ]);
    expect(stderr).toMatch(failure.message);
    expect(status).toBe(1);
    expect(await t.status('one')).toBe('running');
    expect(await counts()).toBe(true);
  });

  test('a restore is refused and leaves nothing', async (context) => {
    needs(context, 'root');
    noted(NOTE);
    const args = [
      '--criu',
      program(),
      'restore',
      '-b',
      await t.bundle('true'),
      '--image-path',
      'images',
      'one',
    ];
    const { status, stderr } = await t.oci(args);
    expect(stderr).toMatch(failure.message);
    expect(status).toBe(1);
    expect(t.left()).toEqual([]);
  });
});

test('a criu that stops the processes and is killed does not leave them stopped', async (context) => {
  needs(context, 'root');
  await t.ok('run', '--detach', '-b', await counting(), 'one');
  const freezes = `
    for state in /sys/fs/cgroup/freezer/${t.name}/c1/freezer.state /sys/fs/cgroup/${t.name}/c1/cgroup.freeze; do
      [ -e $state ] && case $state in *state) echo FROZEN ;; *) echo 1 ;; esac > $state
    done
    kill -9 $$`;
  const { stderr } = await t.oci(['--criu', fake(freezes), 'checkpoint', 'one']);
  expect(stderr).toMatch(/it ended early \(.*SIGKILL/);
  expect(await t.status('one')).toBe('running');
  expect(await counts()).toBe(true);
});

test('only a container that runs can be saved', async (context) => {
  needs(context, 'root');
  await t.ok('create', '-b', await t.bundle('true'), 'one');
  const { status, stderr } = await t.oci(['checkpoint', 'one']);
  expect([status, stderr]).toEqual([1, expect.stringContaining('cannot be checkpointed in created state')]);
});

describe('restore refuses', () => {
  test.each([
    ['a folder without a checkpoint', undefined, /there is no checkpoint in .*images/],
    ['a note that is damaged', '{', /tvmm\.json is not JSON/],
    [
      'a mount that the configuration does not have',
      JSON.stringify({
        tvmmCheckpoint: 1,
        mounts: [{ point: '/etc', kind: 'bind', of: '/etc', below: '' }],
      }),
      /has a bind mount at \/etc that this configuration does not have/,
    ],
  ])('%s', async (_, note, message) => {
    if (note !== undefined) noted(note);
    const args = [
      '--criu',
      fake('sleep 1'),
      'restore',
      '-b',
      await t.bundle('true'),
      '--image-path',
      'images',
    ];
    const { status, stderr } = await t.oci([...args, 'one']);
    expect(stderr).toMatch(message);
    expect(status).toBe(1);
    expect(t.left()).toEqual([]);
  });

  test('an id that is taken', async (context) => {
    needs(context, 'root');
    noted(NOTE);
    const bundle = await t.bundle('sleep 100');
    await t.ok('run', '--detach', '-b', bundle, 'one');
    const { stderr } = await t.oci(['restore', '-b', bundle, '--image-path', 'images', 'one']);
    expect(stderr).toContain('container with given ID already exists: one');
    expect(await t.status('one')).toBe('running');
  });

  test('a namespace that criu cannot join', async (context) => {
    needs(context, 'root');
    noted(NOTE);
    const bundle = await t.bundle('true', ({ linux }) => {
      linux.namespaces.pop();
      linux.namespaces.push({ type: 'cgroup', path: '/proc/self/ns/cgroup' });
    });
    const { stderr } = await t.oci(['restore', '-b', bundle, '--image-path', 'images', 'one']);
    expect(stderr).toContain('cannot restore into the cgroup namespace /proc/self/ns/cgroup');
    expect(t.left()).toEqual([]);
  });
});

test('missing mount points are made in the root, and never outside of it', async (context) => {
  needs(context, 'root');
  const paths = { '/made/file': false, '/made/folder/below': true, '/link/new': true };
  const points = Object.entries(paths).map(([path, folder]) => ({ path, folder }));
  noted(JSON.stringify({ tvmmCheckpoint: 1, points }));
  const bundle = await t.bundle('true');
  const outside = join(t.folder, 'outside');
  mkdirSync(outside);
  symlinkSync(outside, join(bundle, 'rootfs/link'));
  await t.oci(['--criu', fake('exit 1'), 'restore', '-b', bundle, '--image-path', 'images', 'one']);
  expect(statSync(join(bundle, 'rootfs/made/file')).isFile()).toBe(true);
  expect(statSync(join(bundle, 'rootfs/made/folder/below')).isDirectory()).toBe(true);
  expect(existsSync(join(outside, 'new'))).toBe(false);
});

test('pages cannot be restored lazily, and a criu setting that does not exist is named', async () => {
  for (const [args, message] of [
    [['checkpoint', '--lazy-pages'], '--lazy-pages is not supported'],
    [['restore', '--empty-ns', 'pid'], 'is not supported by --empty-ns'],
    [['checkpoint', '--manage-cgroups-mode', 'hard'], 'invalid manage-cgroups-mode value'],
    [['checkpoint', '--parent-path', '/abs'], '--parent-path must be relative'],
  ] as const) {
    const { status, stderr } = await t.oci([...args, 'one']);
    expect([status, stderr]).toEqual([1, expect.stringContaining(message)]);
  }
});

describe('with a criu that knows this kernel', () => {
  const criu = ['--criu', CRIU];

  test('a container is saved while it runs, and goes on from there in a new one', async (context) => {
    needs(context, 'root', 'criu');
    const bundle = await counting();
    runQuietly(bundle);
    expect(await counts()).toBe(true);
    await t.ok(...criu, 'checkpoint', '--leave-running', '--image-path', 'images', 'one');
    const saved = count();
    expect(await counts()).toBe(true);
    await t.ok('delete', '--force', 'one');
    rmSync(join(t.folder, 'data/count'));
    await t.ok(...criu, 'restore', '--detach', '-b', bundle, '--image-path', 'images', 'two');
    expect(await counts()).toBe(true);
    expect(count()).toBeGreaterThanOrEqual(saved);
    await t.ok('pause', 'two');
    expect(await t.status('two')).toBe('paused');
    await t.ok('delete', '--force', 'two');
    expect(t.left()).toEqual([]);
  }, 60_000);

  test('in the foreground its exit status and output are ours', async (context) => {
    needs(context, 'root', 'criu');
    const script = 'trap "echo bye; exit 7" USR1; while true; do sleep 0.1; done';
    const bundle = await t.bundle(script);
    sh(`{ $OCI run --detach -b ${bundle} one </dev/null; } 2>&1 | true`);
    await t.ok(...criu, 'checkpoint', '--image-path', 'images', 'one');
    expect(t.left()).toEqual([]);
    const kill = '(until $OCI kill one USR1 2>/dev/null; do sleep 0.1; done) &';
    const restore = `$OCI restore -b ${bundle} --image-path images one </dev/null`;
    expect(sh(`${kill} { ${restore}; echo status $?; } 2>&1 | cat`)).toBe('bye\nstatus 7\n');
    expect(t.left()).toEqual([]);
  }, 60_000);

  test('a terminal goes to who asks for it', async (context) => {
    needs(context, 'root', 'criu');
    const bundle = await t.bundle('', ({ process }) => {
      process.terminal = true;
      process.args = ['/bin/sh'];
    });
    const path = join(t.folder, 'console');
    {
      using listener = new ConsoleListener(path);
      await t.ok('run', '--detach', '--console-socket', path, '-b', bundle, 'one');
      const master = listener.take();
      type(master, 'kept=42; echo set\n');
      await readUntil(master, 'set\r\n');
      await t.ok(...criu, 'checkpoint', '--image-path', 'images', 'one');
    }
    rmSync(path);
    using listener = new ConsoleListener(path);
    const restore = ['restore', '--detach', '--console-socket', path, '--image-path', 'images'];
    await t.ok(...criu, ...restore, '-b', bundle, 'one');
    const master = listener.take();
    type(master, 'echo "<$kept>"\n');
    await readUntil(master, '<42>');
  }, 60_000);
});
