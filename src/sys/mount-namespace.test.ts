import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../../test/support/needs.js';
import { makeRootReadonly, PrivateMounts } from './mount-namespace.js';
import { exitStatus, spawn, waitPid } from './spawn.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-mounts-'));
  for (const name of ['a', 'b']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'a/file'), '');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const own = () => readlinkSync('/proc/thread-self/ns/mnt');

function run(...argv: [string, ...string[]]): number {
  return exitStatus(waitPid(spawn({ path: argv[0], argv, environment: [], descriptors: new Map() })) ?? 0);
}

test('what is bound in private is seen by programs that are started there, and by nobody later', (context) => {
  needs(context, 'root');
  const [before, cwd] = [own(), process.cwd()];
  {
    using mounts = new PrivateMounts();
    mounts.bind(join(folder, 'a'), join(folder, 'b'));
    expect(run('/bin/sh', '-c', `[ -e ${folder}/b/file ]`)).toBe(0);
    expect(own()).not.toBe(before);
  }
  expect([own(), process.cwd()]).toEqual([before, cwd]);
  expect(readdirSync(join(folder, 'b'))).toEqual([]);
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(folder);
});

test('a bind that fails leaves the thread where it can go back from', (context) => {
  needs(context, 'root');
  const before = own();
  expect(() => {
    using mounts = new PrivateMounts();
    mounts.bind(join(folder, 'missing'), join(folder, 'b'));
  }).toThrow(/^mount .*missing at .*: ENOENT$/);
  expect(own()).toBe(before);
});

test('the root of another namespace becomes read-only, and our own does not', (context) => {
  needs(context, 'root');
  let pid: number;
  {
    using _mounts = new PrivateMounts();
    pid = spawn({ path: '/bin/sleep', argv: ['sleep', '100'], environment: [], descriptors: new Map() });
  }
  try {
    const [before, cwd] = [own(), process.cwd()];
    expect(rootOptions(pid)).toMatch(/^rw/);
    makeRootReadonly(`/proc/${pid}/ns/mnt`);
    expect(rootOptions(pid)).toMatch(/^ro/);
    expect(rootOptions(process.pid)).toMatch(/^rw/);
    expect([own(), process.cwd()]).toEqual([before, cwd]);
  } finally {
    process.kill(pid);
    waitPid(pid);
  }
});

function rootOptions(pid: number): string | undefined {
  const lines = readFileSync(`/proc/${pid}/mountinfo`, 'utf8')
    .split('\n')
    .map((line) => line.split(' '));
  return lines.find(([, , , , point]) => point === '/')?.[5];
}

test('what is no mount namespace is refused, and the thread stays', (context) => {
  needs(context, 'root');
  const before = own();
  expect(() => makeRootReadonly('/proc/self/ns/net')).toThrow(/^setns .*: EINVAL$/);
  expect(own()).toBe(before);
});
