import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createPipe, readToEnd } from './pipe.js';
import { exitStatus, spawn, waitPid } from './spawn.js';

function output(
  script: string,
  descriptors: (stdout: number) => [number, number][],
  environment: string[] = [],
) {
  const { reader, writer } = createPipe('output');
  using _ = reader;
  const pid = spawn({
    path: '/bin/sh',
    argv: ['sh', '-c', script],
    environment,
    descriptors: new Map(descriptors(writer.fd)),
  });
  writer[Symbol.dispose]();
  const text = Buffer.from(readToEnd(reader.fd, 10_000)).toString();
  return { text, status: exitStatus(waitPid(pid) ?? -1) };
}

test('a program gets its arguments, environment and descriptors, and its status comes back', () => {
  expect(output('echo $A; exit 7', (stdout) => [[1, stdout]], ['A=b c'])).toEqual({
    text: 'b c\n',
    status: 7,
  });
});

test('a program that a signal ends has status 128 and the signal', () => {
  expect(output('kill -9 $$', () => []).status).toBe(137);
});

test('descriptors that stand where others go are exchanged, not overwritten', () => {
  const files = ['a', 'b'].map((name) => join(tmpdir(), `tvmm-spawn-${process.pid}-${name}`));
  const fds = files.map((file, index) => {
    writeFileSync(file, `file ${index}\n`);
    return openSync(file, 'r');
  });
  try {
    const [a = -1, b = -1] = fds;
    const { text } = output(`cat /proc/self/fd/${a} /proc/self/fd/${b}`, (stdout) => [
      [1, stdout],
      [a, b],
      [b, a],
    ]);
    expect(text).toBe('file 1\nfile 0\n');
  } finally {
    fds.forEach(closeSync);
    for (const file of files) rmSync(file);
  }
});

test('a program that is not there is an error that names it', () => {
  expect(() => spawn({ path: '/no/such', argv: ['x'], environment: [], descriptors: new Map() })).toThrow(
    'posix_spawn /no/such: ENOENT',
  );
});
