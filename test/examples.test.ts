/** The examples of examples/ do what they say. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from 'tvmm';
import { expect, test } from 'vitest';
import { makeBusyboxRoot } from './support/busybox-root.js';
import { missing } from './support/micro-guest.js';
import { needs } from './support/needs.js';

const noKvm = missing();

function example(name: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return exampleIn(process.env, name, ...args);
}

function exampleIn(env: NodeJS.ProcessEnv, name: string, ...args: string[]) {
  const script = join(packageRoot(), 'dist/examples', `${name}.js`);
  return spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', timeout: 60_000, env });
}

test.skipIf(noKvm !== undefined)(
  `first-exit prints each exit of its five instructions ${noKvm ?? ''}`,
  () => {
    const { status, stdout, stderr } = example('first-exit');
    expect(stderr).toBe('');
    expect([...stdout.matchAll(/reason: '([\w-]+)'/g)].map(([, reason]) => reason)).toEqual([
      'io',
      'io',
      'mmio',
      'hlt',
    ]);
    expect(stdout).toMatch(/direction: 'out',\s+port: 16,.*?Uint8Array\(1\) \[ 42 \]/s);
    // What the example answered to IN comes out by the store.
    expect(stdout).toMatch(/address: 8192,.*?write: true,\s+data: Uint8Array\(1\) \[ 7 \]/s);
    expect(status).toBe(0);
  },
);

test('boot says in one sentence what is wrong with a kernel that does not exist', () => {
  const { status, stderr } = example('boot', '/no/such/kernel');
  expect(status).toBe(125);
  expect(stderr).toMatch(/\/no\/such\/kernel/);
  expect(stderr).not.toMatch(/at .*\.js:\d+/);
});

test('boot without a kernel explains itself', () => {
  expect(example('boot')).toMatchObject({ status: 2, stderr: expect.stringMatching(/^usage: boot KERNEL/) });
});

test('container runs a container, asks it, and leaves nothing of it', async (context) => {
  needs(context, 'root');
  const base = mkdtempSync(join(tmpdir(), 'tvmm-example-'));
  try {
    chmodSync(base, 0o711);
    const rootfs = join(base, 'rootfs');
    await makeBusyboxRoot(rootfs);
    const env = { ...process.env, TVMM_ROOT: join(base, 'root'), TVMM_RUN: join(base, 'run') };
    const { status, stdout, stderr } = exampleIn(env, 'container', rootfs);
    expect(stderr).toBe('');
    expect(stdout.split('\n')).toEqual([
      expect.stringMatching(/^running: [a-z]+-[a-z]+ runs sh$/),
      'exec: status 3, user 1000',
      'stats: 1 process, memory limit 64 MiB',
      'end: status 137',
      'stdout: hello from process 1',
      '',
    ]);
    expect(status).toBe(0);
    expect(readdirSync(join(base, 'root/containers'))).toEqual([]);
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
});

test('plan prints each program with its system calls, their reasons, and what weakens the container', () => {
  const { status, stdout, stderr } = example('plan');
  expect(stderr).toBe('');
  expect(stdout).toMatch(/^launcher$/m);
  expect(stdout).toMatch(
    /clone3\(\{flags: CLONE_NEWNS\|CLONE_NEWUTS\|CLONE_NEWPID.*\n +start the container's first process/,
  );
  expect(stdout).toMatch(/^init\n[\s\S]*execve\("\/bin\/true"/m);
  expect(stdout).toMatch(/^isolation score \d+ of 100$/m);
  expect(status).toBe(0);
});
