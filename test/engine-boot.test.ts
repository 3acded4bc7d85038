/**
 * What commands that are killed, and machines that end, leave of containers: a container in the foreground outlives its command and stays in
 * sight, and a record of an earlier boot is never taken for a process that has its pid now. Needs root.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { processInfo } from '../src/container/runtime/process-info.js';
import { CLI, engineHost } from './support/engine.js';
import { needs } from './support/needs.js';

const host = engineHost('tvmm-engine-boot-');
const { tvmm, run, inspect, until, leftovers, removeAll } = host;
let base = '';
let rootfs = '';

beforeAll(() => {
  ({ base, rootfs } = host.open());
});
beforeEach((context) => needs(context, 'root'));
afterEach(removeAll);
afterAll(() => host.close());

/** `tvmm run` in the foreground, that has printed a line. */
async function foreground(options: readonly string[], ...command: string[]): Promise<ChildProcess> {
  const words = [CLI, 'run', '--network', 'none', ...options, '--rootfs', rootfs, ...command];
  const child = spawn(process.execPath, words, {
    env: host.environment(),
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  if (child.stdout === null) throw new Error('no stdout');
  await once(child.stdout, 'data');
  return child;
}

const states = async () => (await tvmm(['ps', '-a', '--format', 'json'])).stdout;

describe('a container in the foreground whose command is killed', () => {
  it('runs on in sight, and can be removed', async () => {
    const child = await foreground(['--rm', '--name', 'left'], 'sh', '-c', 'echo up; sleep 1000');
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await inspect('left')).toMatchObject({ state: 'running' });
    expect(await states()).toContain('left');
    expect((await tvmm(['rm', '-f', 'left'])).status).toBe(0);
    await until('everything is gone', () => leftovers().length === 0);
  });

  it('is removed by its own end, if it was to be', async () => {
    const child = await foreground(['--rm', '--name', 'left'], 'sh', '-c', 'echo up; sleep 2');
    child.kill('SIGKILL');
    await once(child, 'exit');
    await until(
      'everything is gone',
      async () => !(await states()).includes('left') && leftovers().length === 0,
    );
  });

  it('has its input ended, so that what reads it ends', async () => {
    const child = await foreground(['--rm', '-i', '--name', 'left'], 'sh', '-c', 'echo up; cat');
    child.kill('SIGKILL');
    await once(child, 'exit');
    await until(
      'everything is gone',
      async () => !(await states()).includes('left') && leftovers().length === 0,
    );
  });
});

describe('a start that was killed when the program ran already', () => {
  /** As the killed command leaves the record. */
  async function killedStart(name: string, ...command: string[]): Promise<{ pid: number | undefined }> {
    await run(['-d', '--name', name], ...command);
    const { id, init } = await inspect(name);
    const file = join(base, 'root/containers', id, 'container.json');
    const { started: _, ...record } = JSON.parse(readFileSync(file, 'utf8'));
    writeFileSync(file, JSON.stringify({ ...record, state: 'created', starting: true }));
    return { pid: init?.pid };
  }

  it('is completed by whoever looks next: nothing is stopped', async () => {
    const { pid } = await killedStart('runs', 'sleep', '1000');
    expect(await inspect('runs')).toMatchObject({ state: 'running', init: { pid } });
    expect((await tvmm(['exec', 'runs', 'true'])).status).toBe(0);
  });

  it('has the status that the program has ended with', async () => {
    await killedStart('ends', 'sh', '-c', 'sleep 1; exit 5');
    await until('it has ended', async () => (await inspect('ends')).state === 'stopped');
    expect(await inspect('ends')).toMatchObject({ exitCode: 5 });
  });
});

const OTHER_BOOT = '01234567-89ab-cdef-0123-456789abcdef';

/**
 * As a machine that ended at once leaves a container: its processes gone, its records as they were, of another boot. Its pids are now those of
 * this very test, started at the same tick.
 */
async function endMachine(name: string): Promise<void> {
  const { id, init, minder } = await inspect(name);
  for (const one of [minder, init]) process.kill(one?.pid ?? 0, 'SIGKILL');
  const { pid, startTime } = processInfo(process.pid) ?? { pid: 0, startTime: '' };
  const foreign = { pid, startTime, boot: OTHER_BOOT };
  const rewrite = (file: string, change: object) =>
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }));
  rewrite(join(base, 'root/containers', id, 'container.json'), { init: foreign, minder: foreign });
  rewrite(join(base, 'run/engine', id, 'state.json'), { init: foreign });
}

describe('a machine that ended', () => {
  it('leaves containers that have stopped, whoever has their pids now', async () => {
    await run(['-d', '--name', 'once'], 'sleep', '1000');
    await endMachine('once');
    expect((await tvmm(['ps'])).stdout).not.toContain('once');
    expect(await inspect('once')).toMatchObject({
      state: 'stopped',
      exitCode: 255,
      problem: 'the machine ended while it ran',
    });
    // This process is still here: nobody killed it for the container.
    expect((await tvmm(['rm', 'once'])).status).toBe(0);
    await until('everything is gone', () => leftovers().length === 0);
  });

  it('has those started again whose policy says so', async () => {
    for (const [name, ...options] of [
      ['always', '--restart', 'always'],
      ['stopped', '--restart', 'unless-stopped'],
      ['unless', '--restart', 'unless-stopped'],
      ['failed', '--restart', 'on-failure'],
      ['never'],
      ['gone', '--rm'],
    ] as const)
      expect((await run(['-d', '--name', name, ...options], 'sleep', '1000')).status).toBe(0);
    await tvmm(['stop', '-t', '0', 'stopped']);
    for (const name of ['always', 'unless', 'failed', 'never', 'gone']) await endMachine(name);
    const { status, stdout, stderr } = await tvmm(['start', '--all-restarting']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout.trim().split('\n').sort()).toEqual(['always', 'failed', 'unless']);
    for (const name of ['always', 'unless', 'failed'])
      expect(await inspect(name)).toMatchObject({ state: 'running' });
    for (const name of ['stopped', 'never']) expect(await inspect(name)).toMatchObject({ state: 'stopped' });
    expect((await tvmm(['inspect', 'gone'])).status).not.toBe(0);
    // A second call finds nothing to do.
    expect((await tvmm(['start', '--all-restarting'])).stdout).toBe('');
  });
});
