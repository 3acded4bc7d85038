import { expect, test } from 'vitest';
import { idMapOf, subordinateRanges } from './subids.js';

const OWNER = { name: 'ann', uid: 1000 };

test('a user has the ranges of its name and of its number, in order', () => {
  const text = 'bob:100000:65536\nann:300000:10\n1000:200000:65536\n';
  expect(subordinateRanges(text, OWNER)).toEqual([
    { first: 200_000, count: 65_536 },
    { first: 300_000, count: 10 },
  ]);
});

test.each([
  ['nothing', ''],
  ['a comment', '# ann:1:1'],
  ['too few fields', 'ann:100000'],
  ['too many fields', 'ann:100000:1:1'],
  ['no number', 'ann:x:65536'],
  ['a negative number', 'ann:-5:65536'],
  ['a count of nothing', 'ann:100000:0'],
  ['an end beyond all ids', 'ann:4294967000:65536'],
  ['the own id', 'ann:1000:1'],
  ['a range around the own id', 'ann:1:65536'],
  ['another user whose name begins alike', 'anna:100000:65536'],
])('%s gives no ids', (_what, text) => {
  expect(subordinateRanges(text, OWNER)).toEqual([]);
});

test('a user without a name is not given the lines without a name', () => {
  expect(subordinateRanges(':100000:65536\n', { name: undefined, uid: 1000 })).toEqual([]);
});

test('of ranges that overlap the lowest counts, or the kernel would refuse the map', () => {
  const text = 'ann:200010:20\nann:200000:20\nann:200019:5\n';
  expect(subordinateRanges(text, OWNER)).toEqual([{ first: 200_000, count: 20 }]);
});

test('no more ranges are taken than the kernel takes', () => {
  const text = Array.from({ length: 500 }, (_, i) => `ann:${200_000 + i * 10}:5`).join('\n');
  expect(idMapOf(1000, subordinateRanges(text, OWNER))).toHaveLength(340);
});

test('inside, the user is 0 and the ranges follow without a gap', () => {
  const ranges = [
    { first: 200_000, count: 100 },
    { first: 900_000, count: 50 },
  ];
  expect(idMapOf(1000, ranges)).toEqual([
    { containerID: 0, hostID: 1000, size: 1 },
    { containerID: 1, hostID: 200_000, size: 100 },
    { containerID: 101, hostID: 900_000, size: 50 },
  ]);
});
