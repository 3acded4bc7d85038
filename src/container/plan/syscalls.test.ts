import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../sys/package-root.js';
import { SYSCALLS, syscallNumber } from './syscalls.js';

test('every system call has the number that the kernel headers give it', () => {
  const names = Object.keys(SYSCALLS);
  const source = `#include <sys/syscall.h>\n${names.map((name) => `"${name}" __NR_${name}`).join('\n')}\n`;
  const text = execFileSync('gcc', ['-E', '-P', '-'], { input: source, encoding: 'utf8' });
  const theirs = Object.fromEntries(
    [...text.matchAll(/"(\w+)" (\w+)/g)].map(([, name, number]) => [name, Number(number)]),
  );
  expect(theirs).toEqual(SYSCALLS);
});

test('calls that would change the launcher itself are not in the table', () => {
  for (const name of ['mmap', 'munmap', 'mprotect', 'brk', 'rt_sigaction', 'rt_sigreturn', 'fork', 'execve'])
    expect(syscallNumber(name), name).toBeUndefined();
});

test('the launcher allows the same calls', () => {
  const header = readFileSync(join(packageRoot(), 'firmware/launcher/allowed-calls.h'), 'utf8');
  expect([...header.matchAll(/X\((\w+)\)[ \n]/g)].map(([, name]) => name)).toEqual(Object.keys(SYSCALLS));
});
