/** What `create` refuses, each with a sentence that names the place, and nothing left behind. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { needs } from './support/needs.js';
import { type Config, OciTest } from './support/oci.js';

let t: OciTest;
beforeEach(() => {
  t = new OciTest();
});
afterEach(() => t.end());

describe('a configuration that cannot be', () => {
  beforeEach((context) => needs(context, 'root'));

  test.each<[string, (config: Config) => void, string]>([
    [
      'no such program',
      ({ process }) => {
        process.args = ['/no/such'];
      },
      '/no/such',
    ],
    [
      'no root',
      ({ root }) => {
        root.path = 'nowhere';
      },
      'nowhere',
    ],
    [
      'a mount without source',
      ({ mounts }) =>
        void mounts.push({ destination: '/x', type: 'bind', source: '/no/such', options: ['bind'] }),
      '/no/such',
    ],
    [
      'a wrong type',
      ({ process }) => {
        process.args = 'true';
      },
      'process.args must be an array',
    ],
    [
      'a relative cwd',
      ({ process }) => {
        process.cwd = 'tmp';
      },
      'process.cwd',
    ],
    [
      'an unknown namespace',
      ({ linux }) => void linux.namespaces.push({ type: 'nonsense' }),
      'linux.namespaces',
    ],
    [
      'a sysctl of the host',
      ({ linux }) => {
        linux.sysctl = { 'kernel.panic': '1' };
      },
      'kernel.panic',
    ],
    [
      'a namespace path that is none',
      ({ linux }) => {
        linux.namespaces[1].path = '/etc/passwd';
      },
      '/etc/passwd',
    ],
    [
      'id maps that overlap',
      ({ linux }) => {
        linux.namespaces.push({ type: 'user' });
        linux.uidMappings = linux.gidMappings = [
          { containerID: 0, hostID: 1, size: 10 },
          { containerID: 5, hostID: 100, size: 10 },
        ];
      },
      'overlap',
    ],
    [
      'a cgroup path that leads out',
      ({ linux }) => {
        linux.cgroupsPath = '/..';
      },
      'cgroupsPath',
    ],
    [
      'a limit that the kernel refuses',
      ({ linux }) => {
        linux.resources.cpu = { cpus: '9999' };
      },
      'cpu.cpus',
    ],
  ])('%s: create fails with a sentence, and nothing is left', async (_, change, message) => {
    const { status, stderr } = await t.oci(['create', '-b', await t.bundle('true', change), 'one']);
    expect(status).toBe(1);
    expect(stderr).toContain(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(t.left()).toEqual([]);
  });
});

test.each([
  ['{', 'is not JSON'],
  ['[]', 'must be a JSON object'],
  ['{"ociVersion": "2.0.0"}', 'ociVersion'],
])('the config.json %j is refused', async (text, message) => {
  const bundle = join(t.folder, 'b');
  mkdirSync(bundle);
  writeFileSync(join(bundle, 'config.json'), text);
  expect((await t.oci(['create', '-b', bundle, 'one'])).stderr).toContain(message);
  expect(existsSync(t.state)).toBe(false);
});

test('a bundle without config.json is told as such', async () => {
  expect((await t.oci(['create', '-b', t.folder, 'one'])).stderr).toContain('config.json not found');
});
