/** `tvmm plan` and `tvmm assess`: they tell, and make nothing. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { OciTest } from './support/oci.js';
import { tvmm } from './support/tvmm.js';

let t: OciTest;
beforeEach(() => {
  t = new OciTest();
});
afterEach(() => t.end());

test('a bundle’s plan is printed step by step, and as JSON, without a trace', async () => {
  const bundle = await t.bundle('true');
  const { status, stdout } = await tvmm(['plan', '--id', 'web', bundle]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^inherited control = 3\n\nlauncher \{\n +0 {2}/);
  expect(stdout).toMatch(/pivot_root\(.*# /);
  expect(stdout).toContain('execve(');
  const { programs } = JSON.parse((await tvmm(['plan', '--json', bundle])).stdout);
  expect(programs.map(({ name }: { name: string }) => name)).toEqual(['launcher', 'init']);
  expect(t.left()).toEqual([]);
});

test('what cannot be made has no plan, and says why', async () => {
  const bundle = await t.bundle('true', (config) => {
    config.linux.namespaces[0].path = 'relative';
  });
  const { status, stderr } = await tvmm(['plan', bundle]);
  expect([status, stderr]).toEqual([125, expect.stringContaining('linux.namespaces[0].path')]);
  expect((await tvmm(['plan', t.folder])).stderr).toContain('config.json not found');
});

test('an assessment has a score, and findings with what to do', async () => {
  const bundle = await t.bundle('true', (config) => {
    config.linux.namespaces = config.linux.namespaces.filter(({ type }: { type: string }) => type !== 'pid');
  });
  const { status, stdout } = await tvmm(['assess', bundle]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^isolation score {2}\d+ of 100/);
  expect(stdout).toContain('do: ');
  const { score, findings } = JSON.parse((await tvmm(['assess', '--json', bundle])).stdout);
  expect(findings.map(({ id }: { id: string }) => id)).toContain('host-pid-namespace');
  expect((await tvmm(['assess', '--min-score', String(score + 1), bundle])).status).toBe(1);
  expect((await tvmm(['assess', '--min-score', 'much', bundle])).status).toBe(125);
});

test('an assessment of nonsense is refused', async () => {
  writeFileSync(join(t.folder, 'config.json'), '[]');
  expect((await tvmm(['assess', t.folder])).stderr).toContain('must be a JSON object');
  expect((await tvmm(['assess', '/no/such/bundle'])).stderr).toContain('no config.json');
});

test('tvmm oci is tvmm-oci', async () => {
  expect((await tvmm(['oci', '--version'])).stdout).toBe(await t.ok('--version'));
  const { status, stderr } = await tvmm(['oci', '--root', t.state, 'state', 'none']);
  expect([status, stderr]).toEqual([1, expect.stringContaining('container does not exist')]);
});
