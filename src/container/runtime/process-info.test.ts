import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { bootId, isAlive, parseStat, processInfo } from './process-info.js';

test('a program name with spaces and parentheses does not shift the fields', () => {
  const rest = Array.from({ length: 30 }, (_, at) => String(at + 4)).join(' ');
  expect(parseStat(7, `7 (a) S 1) b) R ${rest}`)).toEqual({ pid: 7, state: 'R', startTime: '22' });
});

test('a line that is cut off names no process', () => {
  expect(parseStat(7, '7 (sh) S 1 2')).toBeUndefined();
  expect(parseStat(7, '')).toBeUndefined();
});

test('this process is alive, and not with another start time', () => {
  const self = processInfo(process.pid);
  if (self === undefined) throw new Error('no /proc/self');
  expect(isAlive(self)).toBe(true);
  expect(isAlive({ pid: self.pid, startTime: '1' })).toBe(false);
});

test('what ran under an earlier boot is not the process that has its pid and start time now', () => {
  const self = processInfo(process.pid);
  if (self === undefined) throw new Error('no /proc/self');
  expect(isAlive({ ...self, boot: bootId() })).toBe(true);
  expect(isAlive({ ...self, boot: '00000000-0000-0000-0000-000000000000' })).toBe(false);
});

test('a process that has ended is not alive', () => {
  const { pid } = spawnSync('true');
  expect(isAlive({ pid, startTime: '1' })).toBe(false);
});
