/** The examples of examples/ do what they say. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from 'tvmm';
import { expect, test } from 'vitest';
import { missing } from './support/micro-guest.js';

const noKvm = missing();

function example(name: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const script = join(packageRoot(), 'dist/examples', `${name}.js`);
  return spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', timeout: 60_000 });
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
