import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createPipe, readToEnd } from '../../sys/pipe.js';
import { exitStatus, spawn, waitPid } from '../../sys/spawn.js';
import { launcherPath } from './launcher-file.js';

/** Starts `launcher --init` with its stdout in a pipe. */
function init(
  argv: readonly string[],
  environment: readonly string[] = ['PATH=/no/such:/bin'],
  mode = '--init',
) {
  const { reader, writer } = createPipe('stdout');
  const pid = spawn({
    path: launcherPath(),
    argv: ['init', mode, ...argv],
    environment,
    descriptors: new Map([
      [1, writer.fd],
      [2, writer.fd],
    ]),
  });
  writer[Symbol.dispose]();
  return {
    pid,
    read: (limit = 10_000) => Buffer.from(readToEnd(reader.fd, limit)).toString(),
    status: () => exitStatus(waitPid(pid) ?? -1),
    [Symbol.dispose]: () => reader[Symbol.dispose](),
  };
}

test('init finds its program by PATH, and ends as the program does', () => {
  using process = init(['sh', '-c', 'echo $0 $1; exit 11', 'a', 'b']);
  expect(process.read()).toBe('a b\n');
  expect(process.status()).toBe(11);
});

test('without PATH the usual folders are searched', () => {
  using process = init(['true'], []);
  expect(process.status()).toBe(0);
});

test.each([
  ['nothing-of-this-name', 127, 'errno 2'],
  ['/etc/passwd', 126, 'errno 13'],
])('a program that cannot start, %s, gives status %i and a sentence', (name, status, reason) => {
  using process = init([name]);
  expect(process.read()).toBe(`tvmm launcher: cannot start ${name}: ${reason}\n`);
  expect(process.status()).toBe(status);
});

test('a program that a signal ends is 128 and its number', () => {
  using process = init(['sh', '-c', 'kill -9 $$']);
  expect(process.status()).toBe(137);
});

test.each(['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGWINCH'] as const)('%s goes on to the program', (signal) => {
  const script = `trap 'echo got; exit 3' ${signal.slice(3)}; echo ready; while :; do sleep 0.01; done`;
  using child = init(['sh', '-c', script]);
  expect(child.read('ready\n'.length)).toBe('ready\n');
  process.kill(child.pid, signal);
  expect(child.read()).toBe('got\n');
  expect(child.status()).toBe(3);
});

test('the program starts with no signal blocked', () => {
  using process = init(['grep', 'SigBlk', '/proc/self/status']);
  expect(process.read()).toBe(`SigBlk:\t${'0'.repeat(16)}\n`);
  process.status();
});

test('an init holds less than 200 KB of memory', () => {
  using child = init(['sh', '-c', 'echo ready; exec sleep 100']);
  expect(child.read('ready\n'.length)).toBe('ready\n');
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1];
  process.kill(child.pid, 'SIGHUP');
  expect(child.status()).toBe(129);
  expect(Number(peak)).toBeLessThan(200);
});

test.each(['SIGTERM', 'SIGINT'] as const)(
  'a pause process stays until %s and leaves with status 0',
  async (signal) => {
    using child = init([], [], '--pause');
    // It sleeps only where it waits for signals; before that they would end it as they end any program.
    while (!/State:\s+S/.test(readFileSync(`/proc/${child.pid}/status`, 'utf8')))
      await new Promise((resolve) => setTimeout(resolve, 5));
    process.kill(child.pid, 'SIGHUP');
    process.kill(child.pid, signal);
    expect(child.status()).toBe(0);
  },
);
