import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TvmmError } from '../sys/errors.js';
import { formatSize, parseCount, parseDuration, parseSize, UnitError } from './units.js';

test.each([
  ['4096', 4096],
  ['512M', 512 * 2 ** 20],
  ['5g', 5 * 2 ** 30],
  ['1GiB', 2 ** 30],
  ['1.5K', 1536],
  [' 2 MiB ', 2 ** 21],
  ['0', 0],
])('the size %s is %d bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each([
  ['', 'not a size'],
  ['M', 'not a size'],
  ['-1M', 'not a size'],
  ['1e9', 'not a size'],
  ['1GB', 'ambiguous'],
  ['1X', 'unknown unit'],
  ['1constructor', 'unknown unit'],
  ['9999999T', 'too large'],
  ['1.0001K', 'whole number'],
])('the size %j is refused: %s', (text, why) => {
  expect(() => parseSize(text, '--memory')).toThrow(why);
  expect(() => parseSize(text, '--memory')).toThrow(/^--memory /);
});

test.each([
  ['30', 30_000],
  ['30s', 30_000],
  ['1500ms', 1500],
  ['2m', 120_000],
  ['0.5h', 1_800_000],
])('the duration %s is %d ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each(['', 's', '-3', '3d', '99999h'])('the duration %j is refused', (text) => {
  expect(() => parseDuration(text)).toThrow(UnitError);
});

test('a count outside its range names the range', () => {
  expect(parseCount('4', '--cpus', 1, 8)).toBe(4);
  for (const text of ['0', '9', '1.5', '', 'four', '0x4'])
    expect(() => parseCount(text, '--cpus', 1, 8)).toThrow('from 1 to 8');
});

test('any text gives a number or a TvmmError, never another exception', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const parse of [parseSize, parseDuration]) {
        try {
          expect(Number.isSafeInteger(parse(text))).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(TvmmError);
        }
      }
    }),
  );
});

test('sizes are shown in the largest unit that fits', () => {
  expect(formatSize(512)).toBe('512 bytes');
  expect(formatSize(512 * 2 ** 20)).toBe('512 MiB');
  expect(formatSize(1.5 * 2 ** 30)).toBe('1.5 GiB');
});
