import { expect, test } from 'vitest';
import { isExplained, NEEDS, needs } from './needs.js';

const table = {
  here: { reason: 'no dog', present: () => true },
  absent: { reason: 'no cat', present: () => false },
};

test('a skip is explained only by a thing that is really absent', () => {
  expect(isExplained('a.test.ts: purrs [no cat]', table)).toBe(true);
  expect(isExplained('a.test.ts: barks [no dog]', table)).toBe(false);
});

test('a skip without a known reason is not explained', () => {
  expect(isExplained('a.test.ts: sometimes fails', table)).toBe(false);
  expect(isExplained('', table)).toBe(false);
});

test('needs skips for the first thing that is absent, and for nothing else', () => {
  const notes: (string | undefined)[] = [];
  const skip = (note?: string): never => {
    notes.push(note);
    throw new Error('skipped');
  };
  const absent = NEEDS.slow.present() ? undefined : NEEDS.slow.reason;
  if (absent === undefined) needs({ skip }, 'slow');
  else expect(() => needs({ skip }, 'slow')).toThrow('skipped');
  expect(notes).toEqual(absent === undefined ? [] : [absent]);
});
