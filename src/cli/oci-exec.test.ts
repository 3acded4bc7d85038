import { expect, test } from 'vitest';
import type { OciSpec } from '../container/spec/types.js';
import { processOf } from './oci-exec.js';
import { parseFlags } from './oci-flags.js';
import { findCommand } from './oci-table.js';
import { bytes, resourcesOf } from './oci-update.js';

const SPEC: OciSpec = {
  ociVersion: '1.0.0',
  root: { path: 'r' },
  process: {
    args: ['init'],
    cwd: '/',
    env: ['A=1'],
    terminal: true,
    user: { uid: 1, gid: 2, additionalGids: [3] },
    capabilities: { bounding: ['CAP_KILL'], inheritable: [] },
    noNewPrivileges: true,
  },
};

function values(command: string, line: readonly string[]) {
  return parseFlags(findCommand(command)?.flags ?? [], line, { stopAfterArguments: 1 }).values;
}

test('without flags it is the container’s process with another command line and no terminal', () => {
  expect(processOf(SPEC, values('exec', []), ['ls', '-l'])).toMatchObject({
    args: ['ls', '-l'],
    cwd: '/',
    env: ['A=1'],
    terminal: false,
    user: { uid: 1, gid: 2, additionalGids: [3] },
    noNewPrivileges: true,
  });
});

test('flags change what they name', () => {
  const line = [
    '-t',
    '--cwd',
    '/x',
    '-e',
    'B=2',
    '-u',
    '5:6',
    '-g',
    '7',
    '--no-new-privs=false',
    '-c',
    'CAP_CHOWN',
  ];
  expect(processOf(SPEC, values('exec', line), ['ls'])).toMatchObject({
    terminal: true,
    cwd: '/x',
    env: ['A=1', 'B=2'],
    user: { uid: 5, gid: 6, additionalGids: [3, 7] },
    noNewPrivileges: false,
    capabilities: {
      bounding: ['CAP_KILL', 'CAP_CHOWN'],
      effective: ['CAP_CHOWN'],
      permitted: ['CAP_CHOWN'],
      ambient: ['CAP_CHOWN'],
    },
  });
});

test.each([['x'], ['-1'], ['1:y'], ['4294967295'], ['1.5']])('the user %j is refused', (user) => {
  expect(() => processOf(SPEC, values('exec', ['--user', user]), ['ls'])).toThrow(/bad (uid|gid)/);
});

test.each([
  ['512', 512],
  ['1k', 1024],
  ['64M', 64 * 2 ** 20],
  ['1.5GiB', 1.5 * 2 ** 30],
  ['2 gb', 2 * 2 ** 30],
  ['-1', -1],
])('%j is %d bytes', (text, expected) => {
  expect(bytes(text, 'memory')).toBe(expected);
});

test.each([['lots'], ['-2'], [''], ['1x'], ['1e9']])('%j is no size', (text) => {
  expect(() => bytes(text, 'memory')).toThrow('invalid value for memory');
});

test('update asks for what was given, zero included, and for nothing else', () => {
  const line = ['--cpu-quota', '0', '--memory', '1m', '--pids-limit', '-1', '--cpuset-cpus', '0-1'];
  expect(resourcesOf(values('update', line))).toEqual({
    cpu: { quota: 0, cpus: '0-1' },
    memory: { limit: 2 ** 20 },
    pids: { limit: -1 },
  });
});
