import { describe, expect, it } from 'vitest';
import {
  parseBlkio,
  parseCount,
  parseCpuList,
  parseIoStat,
  parseKeyValues,
  parsePressure,
  UNLIMITED,
} from './parse.js';
import { formatStats } from './stats.js';

describe('the text formats of cgroup files', () => {
  it('have key and value on a line, and perhaps more that is skipped', () => {
    expect(parseKeyValues('anon 4096\nfile 0\nodd\nworse -1\n  x 3\n')).toEqual({ anon: 4096, file: 0 });
  });

  it('have max for no limit', () => {
    expect(parseCount('max\n')).toBe(UNLIMITED);
    expect(parseCount('123\n')).toBe(123);
    expect(parseCount(undefined)).toBe(0);
    expect(parseCount('1 2')).toBe(0);
  });

  it('have lists of CPUs with ranges', () => {
    expect(parseCpuList('0-2,7\n')).toEqual([0, 1, 2, 7]);
    expect(parseCpuList('\n')).toEqual([]);
    expect(parseCpuList('3-1,x,0-99999999999')).toHaveLength(65_536);
  });

  it('have pressure in shares and microseconds', () => {
    const text =
      'some avg10=1.50 avg60=0.20 avg300=0.00 total=4711\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=9\n';
    expect(parsePressure(text)).toEqual({
      some: { avg10: 1.5, avg60: 0.2, avg300: 0, total: 4711 },
      full: { avg10: 0.1, avg60: 0, avg300: 0, total: 9 },
    });
    expect(parsePressure('').full.total).toBe(0);
  });

  it('have block devices by number, with or without an operation', () => {
    expect(parseBlkio('8:0 Read 10\n8:0 Total 12\n8:16 7\nTotal 19\n')).toEqual([
      { major: 8, minor: 0, op: 'Read', value: 10 },
      { major: 8, minor: 0, op: 'Total', value: 12 },
      { major: 8, minor: 16, op: '', value: 7 },
    ]);
  });

  it('have all of a device on one line on v2', () => {
    const text = '8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:1 \n';
    expect(parseIoStat(text)).toEqual({
      bytes: [
        { major: 8, minor: 0, op: 'Read', value: 1 },
        { major: 8, minor: 0, op: 'Write', value: 2 },
      ],
      operations: [
        { major: 8, minor: 0, op: 'Read', value: 3 },
        { major: 8, minor: 0, op: 'Write', value: 4 },
      ],
    });
  });
});

describe('statistics as JSON', () => {
  it('have every digit of limits, and the largest uint64 for none', () => {
    const text = formatStats({ v1: 2 ** 63 - 4096, v2: UNLIMITED, small: 5, ratio: 0.25 });
    expect(text).toBe('{"v1":9223372036854771712,"v2":18446744073709551615,"small":5,"ratio":0.25}');
  });

  it('leave out what is not there', () => {
    expect(formatStats({ a: undefined, b: [1, { c: 'x"' }], d: null })).toBe(
      '{"b":[1,{"c":"x\\""}],"d":null}',
    );
  });
});
