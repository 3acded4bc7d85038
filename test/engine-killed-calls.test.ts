/**
 * `tvmm run -d` killed at each of its own system calls that change anything (by strace, from outside): the next command finds a container that
 * runs, or none that does, and when that is removed nothing is left. A run takes every so-manieth call, another share from day to day; with
 * TVMM_TEST_EVERY_STEP=1 all of them.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CLI, engineHost } from './support/engine.js';
import { needs } from './support/needs.js';
import { EVERY_STEP, todaysShare } from './support/todays-share.js';
import { callsIn, killingAt, tracing } from './support/traced-calls.js';

const { open, close, environment, tvmm, inspect, leftovers, until, removeAll } = engineHost('tvmm-killed-');
let base: string;
let rootfs: string;
beforeEach((context) => {
  needs(context, 'root', 'strace');
  ({ base, rootfs } = open());
});
afterEach(async () => {
  await removeAll();
  await close();
});

/** What it changes the machine by, and what it starts and waits for others by; `write` stands for the open before it as well. */
const CALLS =
  'mkdir write rename renameat2 mknodat chmod memfd_create socketpair clone3 sendto connect rmdir unlink flock wait4 fsync mount';

/** Runs the cold command under strace. @returns its status; null where it was killed */
function traced(
  [strace = '', ...options]: readonly string[],
  args: readonly string[],
): Promise<number | null> {
  return new Promise((resolve) => {
    const child = execFile(
      strace,
      [...options, process.execPath, CLI, ...args],
      { env: environment(), timeout: 120_000, killSignal: 'SIGKILL' },
      (error) => resolve(error === null ? 0 : typeof error.code === 'number' ? error.code : null),
    );
    child.stdin?.end();
  });
}

test('run in the background', async () => {
  const args = ['run', '-d', '--name', 'one', '--network', 'none', '--rootfs', rootfs, 'sleep', '1000'];
  const trace = join(base, 'trace');
  expect(await traced(tracing(CALLS, trace), args)).toBe(0);
  await removeAll();
  await until('nothing is left', () => leftovers().length === 0);
  const states = new Set<string>();
  for (const one of todaysShare(callsIn(trace))) {
    const where = `killed at ${one.call} number ${one.nth}`;
    await traced(killingAt(one), args);
    const { status, stdout, stderr } = await tvmm(['ps', '-a', '--format', '{{.Names}} {{.State}}']);
    expect({ status, stderr }, where).toEqual({ status: 0, stderr: '' });
    expect(stdout.trim(), where).toMatch(/^(one (running|created|exited))?$/);
    states.add(stdout.trim());
    if (stdout.startsWith('one')) {
      const running = stdout.includes('running');
      // What has not run yet can be started, what runs can be entered.
      const next = running ? ['exec', 'one', 'true'] : ['start', 'one'];
      expect(await tvmm(next), where).toMatchObject({ status: 0, stderr: '' });
      expect((await inspect('one')).state, where).toBe('running');
      expect(await tvmm(['rm', '-f', 'one']), where).toMatchObject({ status: 0, stderr: '' });
    } else {
      // The name is free.
      expect(await tvmm(['run', '--rm', ...args.slice(2, -2), 'true']), where).toMatchObject({
        status: 0,
        stderr: '',
      });
    }
    // A name that was being written goes with the next one that is.
    await until(`${where}: nothing is left`, () => leftovers().every((one) => one.endsWith('.new~')));
  }
  expect(await tvmm(['run', '--rm', ...args.slice(2, -2), 'true'])).toMatchObject({ status: 0, stderr: '' });
  await until('nothing is left', () => leftovers().length === 0);
  if (EVERY_STEP) expect([...states].sort()).toEqual(['', 'one created', 'one running']);
});
