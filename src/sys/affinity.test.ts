import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseCpuList, setThreadAffinity } from './affinity.js';

const allowed = () =>
  parseCpuList(/^Cpus_allowed_list:(.*)$/m.exec(readFileSync('/proc/thread-self/status', 'utf8'))?.[1] ?? '');

describe('the affinity of a thread', () => {
  test('is what it was set to', () => {
    const before = allowed();
    const [last] = before.slice(-1);
    if (last === undefined) throw new Error('this process may use no CPU');
    try {
      setThreadAffinity([last]);
      expect(allowed()).toEqual([last]);
    } finally {
      setThreadAffinity(before);
    }
    expect(allowed()).toEqual(before);
  });

  test('cannot be a CPU that is not there', () => {
    expect(() => setThreadAffinity([1023])).toThrow(/sched_setaffinity.*1023/);
  });
});

describe('a list of CPUs', () => {
  test('is single numbers and ranges', () => {
    expect(parseCpuList('0-3,6\n')).toEqual([0, 1, 2, 3, 6]);
    expect(parseCpuList(' 2')).toEqual([2]);
  });

  test('that is none names none', () => {
    for (const text of ['', 'all', '3-1', '-1', '0-99999999']) expect(parseCpuList(text)).toEqual([]);
  });
});
