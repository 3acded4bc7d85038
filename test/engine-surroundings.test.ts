/**
 * The engine's commands where the machine gives out: a disk that is full or was from the beginning, few descriptors, no process left to start,
 * cgroups that nobody may make. Each says what has run out and what to do, leaves nothing, and the next command works.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readLayout } from '../src/container/cgroup/layout.js';
import { engineHost, program, type Result } from './support/engine.js';
import { busyboxArchive } from './support/engine-image.js';
import { needs } from './support/needs.js';

const { open, close, environment, tvmm, run, leftovers, until, removeAll } = engineHost('tvmm-surroundings-');
let base: string;
let rootfs: string;
let mounted: string[];
beforeEach((context) => {
  needs(context, 'root');
  ({ base, rootfs } = open());
  mounted = [];
});
afterEach(async () => {
  await removeAll();
  for (const folder of mounted.splice(0)) spawnSync('umount', ['-l', folder]);
  await close();
});

function sh(script: string): void {
  const { status, stderr } = spawnSync('sh', ['-c', script], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${script}: ${stderr}`);
}

/** Puts a folder of the engine's on a small disk. */
function onDisk(name: 'root' | 'run', size: string): string {
  const folder = join(base, name);
  mkdirSync(folder, { recursive: true });
  sh(`mount -t tmpfs -o size=${size},mode=711 tmpfs ${folder}`);
  mounted.push(folder);
  return folder;
}

function fill(folder: string): void {
  spawnSync('dd', ['if=/dev/zero', `of=${join(folder, 'filler')}`, 'bs=4k'], { stdio: 'ignore' });
}

/** What is left, but for the disks that a test has mounted itself. */
function left(): string[] {
  return leftovers().filter((one) => !mounted.some((folder) => one.includes(` ${folder} `)));
}

/** Runs `tvmm` by a shell script that ends in `exec "$@"`. */
function under(script: string, ...args: string[]): Promise<Result> {
  return new Promise((resolve) => {
    const child = execFile(
      'sh',
      ['-c', script, 'sh', ...program(), ...args],
      { env: environment(), timeout: 60_000, killSignal: 'SIGKILL' },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        resolve({ status: code, stdout, stderr });
      },
    );
    child.stdin?.end();
  });
}

const TRUE = ['run', '--rm', '--network', 'none', '--rootfs'];

async function worksAgain(): Promise<void> {
  const { status, stdout, stderr } = await run(['--rm'], 'echo', 'well');
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'well\n', stderr: '' });
  await until('nothing is left', () => left().length === 0);
}

test('an image that the disk has no room for is refused with what to do, and nothing of it stays', async () => {
  const root = onDisk('root', '4m');
  const archive = join(base, 'image.tar');
  writeFileSync(archive, busyboxArchive('img:1'));
  const { status, stderr } = await tvmm(['image', 'load', '-i', archive]);
  expect(status).toBe(125);
  expect(stderr).toMatch(/room for\nhint: Make room on the disk of the image store/);
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  expect(files.map((one) => join(one.parentPath, one.name)).filter((path) => !/lock/.test(path))).toEqual([]);
  sh(`mount -o remount,size=80m ${root}`);
  expect((await tvmm(['image', 'load', '-i', archive])).status).toBe(0);
  fill(root);
  const full = await tvmm(['run', '--rm', '--network', 'none', 'img:1', 'sh', '-c', 'cat /bin/busybox >/x']);
  expect(full.status).not.toBe(0);
  expect(full.stderr).toMatch(/No space left|ENOSPC/);
  rmSync(join(root, 'filler'));
  expect((await tvmm(['run', '--rm', '--network', 'none', 'img:1', 'echo', 'well'])).stdout).toBe('well\n');
  await until('nothing is left', () => left().length === 0);
});

test('on a disk that has become full, what runs can be seen, entered, stopped and removed', async () => {
  const root = onDisk('root', '1m');
  expect((await run(['-d', '--name', 'one'], 'sleep', '1000')).stderr).toBe('');
  fill(root);
  const more = await run(['--rm'], 'true');
  expect(more.status).toBe(125);
  expect(more.stderr).toMatch(/cannot write .*: the disk is full \(ENOSPC\)\nhint: Make room/);
  expect((await tvmm(['ps'])).stdout).toMatch(/ Up .* one/);
  expect(await tvmm(['exec', 'one', 'echo', 'well'])).toMatchObject({ status: 0, stdout: 'well\n' });
  expect(await tvmm(['stop', '-t', '0', 'one'])).toMatchObject({ status: 0, stderr: '' });
  expect(await tvmm(['rm', 'one'])).toMatchObject({ status: 0, stderr: '' });
  rmSync(join(root, 'filler'));
  await worksAgain();
});

test('a full runtime folder is told of by the file that was to be written, and nothing stays', async () => {
  const folder = onDisk('run', '256k');
  await run(['--rm'], 'true');
  fill(folder);
  const { status, stderr } = await run(['--rm'], 'true');
  expect(status).toBe(125);
  expect(stderr).toMatch(new RegExp(`cannot be started: .*${folder}.*ENOSPC`));
  expect(stderr).toMatch(/\nhint: /);
  rmSync(join(folder, 'filler'));
  await worksAgain();
});

test('with few descriptors the command says so, and the next one clears up behind it', async () => {
  for (const limit of [20, 24, 32]) {
    const { status, stderr } = await under(`ulimit -n ${limit}; exec "$@"`, ...TRUE, rootfs, 'true');
    if (status !== 0) {
      expect(stderr, `${limit} descriptors`).toMatch(/EMFILE|EBADF/);
      expect(stderr, `${limit} descriptors`).toMatch(/limit of open files/);
      expect(stderr, `${limit} descriptors`).not.toContain('internal error');
    }
  }
  await removeAll();
  await worksAgain();
});

test('where no process can be started, at whatever step, the command says so', async (context) => {
  const { v1, v2 } = readLayout();
  const pids = v1.get('pids') ?? v2;
  const folder = join(pids?.mountPoint ?? '', `tvmm-surroundings-${process.pid}`);
  try {
    mkdirSync(folder);
  } catch {
    context.skip('no cgroup can be made here');
  }
  if (!existsSync(join(folder, 'pids.max'))) {
    rmdirSync(folder);
    context.skip('the pids controller is not handed down here');
  }
  try {
    let started = false;
    for (let limit = 8; limit < 24 && !started; limit += 2) {
      writeFileSync(join(folder, 'pids.max'), String(limit));
      const { status, stderr } = await under(
        `echo $$ >${folder}/cgroup.procs; exec "$@"`,
        ...TRUE,
        rootfs,
        'true',
      );
      started = status === 0;
      // Node itself does not come up with fewer.
      if (!started && /tvmm|minder/.test(stderr)) {
        expect(stderr, `${limit} processes`).toMatch(/EAGAIN|Resource temporarily unavailable/);
        expect(stderr, `${limit} processes`).not.toContain('internal error');
      }
    }
    expect(started).toBe(true);
  } finally {
    await until('the cgroup is empty', () => {
      try {
        rmdirSync(folder);
        return true;
      } catch {
        return !existsSync(folder);
      }
    });
  }
  await removeAll();
  await worksAgain();
});

test('cgroups that are read-only here are named, and what to do', async () => {
  const readOnly =
    "for m in $(awk '/ - cgroup2? /{print $5}' /proc/self/mountinfo); do mount -o remount,bind,ro $m || exit 99; done";
  const { status, stderr } = await under(
    `exec unshare -m sh -c '${readOnly.replaceAll("'", "'\\''")}; exec "$@"' sh "$@"`,
    ...TRUE,
    rootfs,
    'true',
  );
  expect(stderr).toMatch(/cannot make the cgroup .*EROFS\nhint: The cgroup file system is mounted read-only/);
  expect(status).toBe(125);
  await worksAgain();
});
