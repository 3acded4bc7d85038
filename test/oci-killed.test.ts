/** `tvmm-oci` killed at any moment: what it leaves is removed by the next command, and nothing stays. */
import { existsSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from './support/needs.js';
import { OciTest } from './support/oci.js';

let t: OciTest;
beforeEach(() => {
  t = new OciTest();
});
afterEach(() => t.end());

/** Everything is gone a moment later: the launch's processes notice that their engine is. */
async function gone(): Promise<string[]> {
  for (let tries = 0; tries < 100 && t.left().length > 0; tries++)
    await new Promise((done) => setTimeout(done, 20));
  return t.left();
}

const MOMENTS = Array.from({ length: 24 }, (_, at) => 20 + at * 12);

test('a create that is killed at any moment is removed by delete --force', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('sleep 1000', (config) => {
    config.linux.namespaces.push({ type: 'user' });
    config.linux.uidMappings = config.linux.gidMappings = [{ containerID: 0, hostID: 100000, size: 65536 }];
    config.hooks = { prestart: [{ path: '/bin/true' }], createRuntime: [{ path: '/bin/true' }] };
  });
  const outcomes = new Set<string>();
  for (const killAfterMs of MOMENTS) {
    const { status } = await t.oci(['create', '-b', bundle, 'one'], { killAfterMs });
    outcomes.add(
      status === null ? (existsSync(`${t.state}/one`) ? 'killed within' : 'killed before') : 'done',
    );
    await t.ok('delete', '--force', 'one');
    expect(await gone(), `killed after ${killAfterMs} ms`).toEqual([]);
  }
  expect(outcomes).toContain('killed within');
});

test('the next create of the same id takes over what a killed one has left', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('sleep 1000');
  for (const killAfterMs of MOMENTS) {
    const { status } = await t.oci(['create', '-b', bundle, 'one'], { killAfterMs });
    if (status === 0) await t.ok('delete', '--force', 'one');
    else {
      const again = await t.oci(['create', '-b', bundle, 'one']);
      // The kill may have come when all was done.
      if (again.status !== 0)
        expect(again.stderr, `killed after ${killAfterMs} ms`).toContain('already exists');
      await t.ok('start', 'one');
      await t.ok('delete', '--force', 'one');
    }
    expect(await gone(), `killed after ${killAfterMs} ms`).toEqual([]);
  }
});

test('a start, a delete and a run that are killed leave what delete --force removes', async (context) => {
  needs(context, 'root');
  const bundle = await t.bundle('sleep 1000');
  for (const killAfterMs of MOMENTS.filter((_, at) => at % 3 === 0)) {
    await t.ok('create', '-b', bundle, 'one');
    await t.oci(['start', 'one'], { killAfterMs });
    await t.oci(['delete', '--force', 'one'], { killAfterMs });
    await t.ok('delete', '--force', 'one');
    await t.oci(['run', '-b', bundle, 'one'], { killAfterMs });
    await t.ok('delete', '--force', 'one');
    expect(await gone(), `killed after ${killAfterMs} ms`).toEqual([]);
  }
});

test('an exec that is killed leaves the container as it was', async (context) => {
  needs(context, 'root');
  await t.ok('run', '-d', '-b', await t.bundle('sleep 1000'), 'one');
  for (const killAfterMs of MOMENTS.filter((_, at) => at % 3 === 0))
    await t.oci(['exec', 'one', 'true'], { killAfterMs });
  expect(await t.status('one')).toBe('running');
  expect(await t.ok('exec', 'one', 'echo', 'well')).toBe('well\n');
  expect(readdirSync(t.state)).toEqual(['one']);
});

test('a state folder that is damaged is told, and removed by delete --force or by hand alone', async (context) => {
  needs(context, 'root');
  const { mkdirSync, writeFileSync } = await import('node:fs');
  mkdirSync(`${t.state}/one`, { recursive: true });
  writeFileSync(`${t.state}/one/state.json`, '{"tvmmRecord":1,"id":3}');
  expect((await t.oci(['state', 'one'])).stderr).toContain('state.json is damaged');
  expect((await t.oci(['list'])).status).toBe(0);
  writeFileSync(`${t.state}/one/state.json`, 'nonsense');
  expect((await t.oci(['state', 'one'])).stderr).toContain('is not JSON');
});
