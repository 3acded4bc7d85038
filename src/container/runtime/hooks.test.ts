import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { OciState } from '../spec/state.js';
import { runHooks, runHooksAnyway } from './hooks.js';
import { processInfo } from './process-info.js';

let folder: string;
let state: OciState;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-hooks-'));
  state = { ociVersion: '1.0.0', id: 'c', status: 'creating', pid: 7, bundle: folder };
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const shell = (script: string, timeout?: number) => ({
  path: '/bin/sh',
  args: ['hook', '-c', script],
  ...(timeout === undefined ? {} : { timeout }),
});

test('a hook gets the state on its standard input, its own arguments and nothing of our environment', async () => {
  const hook = { ...shell('cat > state; echo $0 > name; env > env', 5), env: ['ONLY=this'] };
  await runHooks('prestart', [{ ...hook, args: ['hook', '-c', hook.args[2] ?? '', 'zero'] }], state);
  expect(JSON.parse(readFileSync(join(folder, 'state'), 'utf8'))).toEqual(state);
  expect(readFileSync(join(folder, 'name'), 'utf8')).toBe('zero\n');
  const env = readFileSync(join(folder, 'env'), 'utf8').trim().split('\n');
  expect(env.filter((line) => !/^(PWD|SHLVL|_)=/.test(line))).toEqual(['ONLY=this']);
});

test('the first hook that fails ends the row, with what it printed', async () => {
  const run = runHooks('createRuntime', [shell('echo no luck >&2; exit 3'), shell('touch after')], state);
  await expect(run).rejects.toThrow(
    'error running createRuntime hook #0: /bin/sh ended with exit status 3: no luck',
  );
  expect(() => readFileSync(join(folder, 'after'))).toThrow();
});

test('a hook that takes too long is killed with the processes that it started', async () => {
  const run = runHooks('prestart', [shell('sleep 30 & echo $! > pid; wait', 1)], state);
  await expect(run).rejects.toThrow('did not end within 1 s');
  const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'));
  await vi.waitFor(() => expect(isAlive(pid)).toBe(false));
});

function isAlive(pid: number): boolean {
  const info = processInfo(pid);
  return info !== undefined && info.state !== 'Z';
}

test('a hook that does not exist is a failure that names it', async () => {
  await expect(runHooks('poststart', [{ path: '/no/such/hook' }], state)).rejects.toThrow(
    'error running poststart hook #0: /no/such/hook cannot be run: ENOENT',
  );
});

test('a hook that reads nothing of a large state does no harm', async () => {
  const large = { ...state, annotations: { big: 'x'.repeat(2_000_000) } };
  await runHooks('prestart', [shell('exit 0')], large);
});

test('poststop hooks all run, and failures are told', async () => {
  const told: string[] = [];
  await runHooksAnyway('poststop', [shell('exit 1'), shell('touch after')], state, (text) => told.push(text));
  expect(told).toEqual(['error running poststop hook #0: /bin/sh ended with exit status 1']);
  readFileSync(join(folder, 'after'));
});
