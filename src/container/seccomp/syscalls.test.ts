import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { RET_ENOSYS, RET_KILL_PROCESS, returnValue } from './rules.js';
import { ABIS, multiplexedCalls, syscallTable, X32_SYSCALL_BIT } from './syscalls.js';

const HEADERS = { x86_64: 'asm/unistd_64.h', i386: 'asm/unistd_32.h', x32: 'asm/unistd_x32.h' } as const;

/** What the preprocessor makes of expressions, by name. */
function evaluate(include: readonly string[], names: readonly string[], prefix: string): Map<string, number> {
  const lines = [
    ...include.map((file) => `#include <${file}>`),
    ...names.map((name) => `@"${name}" ${prefix}${name}`),
  ];
  const out = execFileSync('gcc', ['-E', '-P', '-x', 'c', '-D__X32_SYSCALL_BIT=0x40000000', '-'], {
    input: `${lines.join('\n')}\n`,
    encoding: 'utf8',
  });
  const pairs = [...out.matchAll(/@"(\w+)" (.+)/g)].map(([, name = '', value = '']): [string, number] => {
    const sum = value
      .replace(/[()UL]/g, '')
      .split('+')
      .map((part) => Number(part.trim()));
    return [name, sum.reduce((a, b) => a + b, 0)];
  });
  return new Map(pairs);
}

/** All numbers that a header defines. */
function numbersOf(header: string): Map<string, number> {
  const defines = execFileSync('gcc', ['-E', '-dM', '-x', 'c', '-'], {
    input: `#include <${header}>\n`,
    encoding: 'utf8',
  });
  const names = [...defines.matchAll(/^#define __NR_(\w+) /gm)].map(([, name = '']) => name);
  return evaluate([header], names, '__NR_');
}

describe('the table of system calls', () => {
  it.each(ABIS)('has every call of %s that the kernel headers have, under its number', (abi) => {
    const expected = numbersOf(HEADERS[abi]);
    expect(expected.size).toBeGreaterThan(300);
    for (const [name, number] of expected) expect(syscallTable().get(name)?.[abi], name).toBe(number);
  });

  it.each(ABIS)('adds to the headers of %s only calls that are newer', (abi) => {
    const expected = numbersOf(HEADERS[abi]);
    const known = new Set(expected.values());
    for (const [name, numbers] of syscallTable()) {
      const number = numbers[abi];
      if (number === undefined || expected.has(name)) continue;
      expect(known.has(number), name).toBe(false);
      // Two probes took the free places behind the numbers that were x86-64's own.
      const newest = Math.max(...[...known].filter((n) => (n & ~X32_SYSCALL_BIT) < 512));
      if (name !== 'uprobe' && name !== 'uretprobe') expect(number, name).toBeGreaterThan(newest);
    }
  });

  it('gives no number twice', () => {
    for (const abi of ABIS) {
      const numbers = [...syscallTable().values()].flatMap((by) => by[abi] ?? []);
      expect(new Set(numbers).size).toBe(numbers.length);
    }
  });

  it('knows the calls inside socketcall and ipc as the headers number them', () => {
    for (const [file, prefix, by] of [
      ['linux/net.h', 'SYS_', 'socketcall'],
      ['linux/ipc.h', '', 'ipc'],
    ] as const) {
      const calls = [
        ...'socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom'.split(
          ' ',
        ),
        ...'shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg'.split(' '),
        ...'semop semget semctl semtimedop msgsnd msgrcv msgget msgctl shmat shmdt shmget shmctl'.split(' '),
      ];
      const mine = calls.filter((name) => multiplexedCalls().get(name)?.by === by);
      const expected = evaluate(
        [file],
        mine.map((name) => name.toUpperCase()),
        prefix,
      );
      for (const name of mine)
        expect(multiplexedCalls().get(name)?.code, name).toBe(expected.get(name.toUpperCase()));
      expect(mine.length).toBe(by === 'ipc' ? 12 : 20);
    }
  });

  it('stands beside return values that are the kernel header’s', () => {
    const names = ['KILL_PROCESS', 'KILL_THREAD', 'TRAP', 'ERRNO', 'USER_NOTIF', 'TRACE', 'LOG', 'ALLOW'];
    const values = evaluate(['linux/seccomp.h'], names, 'SECCOMP_RET_');
    expect(RET_KILL_PROCESS).toBe(values.get('KILL_PROCESS'));
    expect(returnValue('SCMP_ACT_KILL', undefined)).toBe(values.get('KILL_THREAD'));
    expect(returnValue('SCMP_ACT_TRAP', undefined)).toBe(values.get('TRAP'));
    expect(returnValue('SCMP_ACT_ERRNO', 0)).toBe(values.get('ERRNO'));
    expect(returnValue('SCMP_ACT_NOTIFY', undefined)).toBe(values.get('USER_NOTIF'));
    expect(returnValue('SCMP_ACT_TRACE', 0)).toBe(values.get('TRACE'));
    expect(returnValue('SCMP_ACT_LOG', undefined)).toBe(values.get('LOG'));
    expect(returnValue('SCMP_ACT_ALLOW', undefined)).toBe(values.get('ALLOW'));
    expect(RET_ENOSYS - (values.get('ERRNO') ?? 0)).toBe(38);
  });
});
