/**
 * `tvmm-oci` killed at each of its own system calls that change anything (by strace, from outside): the next command works and nothing stays.
 * A run takes every so-manieth call, another share from day to day; with TVMM_TEST_EVERY_STEP=1 all of them.
 */
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from './support/needs.js';
import { OciTest } from './support/oci.js';
import { todaysShare } from './support/todays-share.js';
import { callsIn, killingAt, type TracedCall, tracing } from './support/traced-calls.js';

let t: OciTest;
beforeEach((context) => {
  needs(context, 'root', 'strace');
  t = new OciTest();
});
afterEach(() => t?.end());

/** What a command changes the machine by, and what it starts and waits for others by; `write` stands for the open before it as well. */
const CALLS =
  'mkdir write rename renameat2 mknodat chmod chown memfd_create socketpair clone3 sendto rmdir unlink flock wait4 pidfd_send_signal kill';

async function everythingGone(): Promise<string[]> {
  for (let tries = 0; tries < 300 && t.left().length > 0; tries++)
    await new Promise((done) => setTimeout(done, 10));
  return t.left();
}

/** The calls that the command makes. */
async function callsOf(command: readonly string[]): Promise<TracedCall[]> {
  const trace = join(t.folder, 'trace');
  expect((await t.oci(command, { under: tracing(CALLS, trace) })).status).toBe(0);
  return callsIn(trace);
}

/** Runs the command once for each of its calls, killed there; `after` follows each time. */
async function killedAtCalls(
  command: readonly string[],
  before: () => Promise<unknown>,
  after: (where: string) => Promise<void>,
): Promise<number> {
  await before();
  const calls = await callsOf(command);
  await after('not killed');
  let killed = 0;
  for (const one of todaysShare(calls)) {
    await before();
    const { status } = await t.oci(command, { under: killingAt(one) });
    if (status !== 0) killed++;
    await after(`killed at ${one.call} number ${one.nth}`);
  }
  return killed;
}

const nothing = () => Promise.resolve();
const withUserNamespace = (config: ReturnType<typeof JSON.parse>) => {
  config.linux.namespaces.push({ type: 'user' });
  config.linux.uidMappings = config.linux.gidMappings = [{ containerID: 0, hostID: 100000, size: 65536 }];
  config.hooks = { createRuntime: [{ path: '/bin/true' }] };
};

test('create', async () => {
  const bundle = await t.bundle('sleep 1000', withUserNamespace);
  let turn = 0;
  const killed = await killedAtCalls(['create', '-b', bundle, 'one'], nothing, async (where) => {
    if (turn++ % 2 === 0) {
      const { status, stderr } = await t.oci(['create', '-b', bundle, 'one']);
      if (status !== 0) expect(stderr, where).toContain('already exists');
      await t.ok('start', 'one');
    }
    await t.ok('delete', '--force', 'one');
    expect(await everythingGone(), where).toEqual([]);
  });
  expect(killed).toBeGreaterThan(0);
});

test('start and delete', async () => {
  const bundle = await t.bundle('sleep 1000', withUserNamespace);
  for (const command of [
    ['start', 'one'],
    ['delete', '--force', 'one'],
  ])
    await killedAtCalls(
      command,
      () => t.ok('create', '-b', bundle, 'one'),
      async (where) => {
        await t.ok('delete', '--force', 'one');
        expect(await everythingGone(), where).toEqual([]);
      },
    );
});

test('run in the background', async () => {
  const bundle = await t.bundle('sleep 1000');
  await killedAtCalls(['run', '-d', '-b', bundle, 'one'], nothing, async (where) => {
    await t.ok('delete', '--force', 'one');
    expect(await everythingGone(), where).toEqual([]);
  });
});

test('exec, pause, resume and update', async () => {
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'one');
  for (const command of [
    ['exec', 'one', 'true'],
    ['pause', 'one'],
    ['resume', 'one'],
    ['update', '--pids-limit', '50', 'one'],
  ])
    await killedAtCalls(
      command,
      async () => {
        if (command[0] === 'resume') await t.oci(['pause', 'one']);
      },
      async (where) => {
        if ((await t.status('one')) === 'paused') await t.ok('resume', 'one');
        expect(await t.status('one'), where).toBe('running');
        expect(await t.ok('exec', 'one', 'echo', 'well'), where).toBe('well\n');
      },
    );
  expect(await t.ok('ps', 'one')).not.toContain('true');
  await t.ok('delete', '--force', 'one');
  expect(await everythingGone()).toEqual([]);
});
