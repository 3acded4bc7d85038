/** Hooks: when they run, what they are told, and what their failures do (OCI config, section on POSIX-platform hooks). */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from './support/needs.js';
import { OciTest } from './support/oci.js';

let t: OciTest;
beforeEach((context) => {
  needs(context, 'root');
  t = new OciTest();
});
afterEach(() => t?.end());

test('hooks run at their times with the states that the specification names', async () => {
  const log = join(t.folder, 'hooks');
  const hook = (kind: string, path = '/bin/sh') => ({
    path,
    args: ['sh', '-c', `read -r s; echo "${kind} $s" >> ${log}`],
  });
  const bundle = await t.bundle('echo ran; sleep 1000', ({ linux, mounts, ...config }) => {
    // Hooks inside the container reach the log, too.
    mounts.push({ destination: t.folder, type: 'bind', source: t.folder, options: ['bind'] });
    void linux;
    void config;
  });
  const path = join(bundle, 'config.json');
  const config = JSON.parse(readFileSync(path, 'utf8'));
  config.hooks = Object.fromEntries(
    ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'].map(
      (kind) => [kind, [hook(kind)]],
    ),
  );
  mkdirSync(join(bundle, 'rootfs', t.folder), { recursive: true });
  writeFileSync(path, JSON.stringify(config));
  const kinds = () =>
    readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((line) => {
        const at = line.indexOf(' ');
        return [line.slice(0, at), JSON.parse(line.slice(at + 1)).status];
      });
  await t.ok('create', '-b', bundle, 'one');
  expect(kinds()).toEqual([
    ['prestart', 'created'],
    ['createRuntime', 'creating'],
    ['createContainer', 'creating'],
  ]);
  await t.ok('start', 'one');
  const order = kinds()
    .slice(3)
    .map(([kind]) => kind);
  expect(order).toEqual(['startContainer', 'poststart']);
  await t.ok('delete', '--force', 'one');
  expect(kinds().at(-1)).toEqual(['poststop', 'stopped']);
});

test.each(['prestart', 'createRuntime', 'createContainer'])(
  'a %s hook that fails ends create with what it printed, and nothing is left',
  async (kind) => {
    const bundle = await t.bundle('true', (config) => {
      config.hooks = { [kind]: [{ path: '/bin/sh', args: ['sh', '-c', 'echo no luck >&2; exit 3'] }] };
    });
    const { status, stderr } = await t.oci(['create', '-b', bundle, 'one']);
    expect(status).toBe(1);
    expect(stderr).toContain(`error running ${kind} hook #0: `);
    expect(stderr).toContain('no luck');
    expect(t.left()).toEqual([]);
  },
);

test.each(['create and start', 'run'])(
  'a startContainer hook that fails is told by %s, its program does not run, and the poststop hooks do',
  async (way) => {
    const seen = join(t.folder, 'poststop');
    const bundle = await t.bundle('echo ran > /run/ran', (config) => {
      config.root.readonly = false;
      config.hooks = {
        startContainer: [
          { path: '/bin/true' },
          { path: '/bin/sh', args: ['sh', '-c', 'echo no luck >&2; exit 3'] },
          { path: '/bin/sh', args: ['sh', '-c', 'echo ran > /run/ran'] },
        ],
        poststart: [{ path: '/bin/sh', args: ['sh', '-c', 'echo ran > rootfs/run/ran'] }],
        poststop: [{ path: '/bin/sh', args: ['sh', '-c', `cat > ${seen}`] }],
      };
    });
    if (way !== 'run') await t.ok('create', '-b', bundle, 'one');
    const { status, stderr } = await t.oci(way === 'run' ? ['run', '-b', bundle, 'one'] : ['start', 'one']);
    expect(status).not.toBe(0);
    expect(stderr).toContain('startContainer hook #1');
    expect(stderr).toContain('exit status 3');
    expect(stderr).toContain('no luck');
    expect(existsSync(join(bundle, 'rootfs/run/ran'))).toBe(false);
    expect(JSON.parse(readFileSync(seen, 'utf8'))).toMatchObject({ id: 'one', status: 'stopped' });
    expect(t.left()).toEqual([]);
  },
);
