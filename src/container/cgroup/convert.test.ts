import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blkioWeightToIoWeight, cpuMax, sharesToWeight, swapToSwapMax } from './convert.js';
import { CgroupLimitError } from './errors.js';

describe('shares as weight', () => {
  it.each([
    [0, 1],
    [2, 1],
    [1024, 100],
    [262_144, 10_000],
    [2 ** 40, 10_000],
  ])('%i shares are weight %i', (shares, weight) => {
    expect(sharesToWeight(shares)).toBe(weight);
  });

  it('stay in range and in order', () => {
    const shares = fc.integer({ min: 2, max: 262_144 });
    fc.assert(
      fc.property(shares, shares, (a, b) => {
        const [less, more] = [sharesToWeight(Math.min(a, b)), sharesToWeight(Math.max(a, b))];
        expect(less).toBeGreaterThanOrEqual(1);
        expect(more).toBeLessThanOrEqual(10_000);
        expect(less).toBeLessThanOrEqual(more);
      }),
    );
  });
});

it.each([
  [10, 1],
  [500, 4950],
  [1000, 10_000],
  [5, 1],
  [2000, 10_000],
])('blkio.weight %i is io.weight %i', (weight, expected) => {
  expect(blkioWeightToIoWeight(weight)).toBe(expected);
});

describe('memory+swap as swap', () => {
  it.each([
    [undefined, 100, undefined],
    [0, 100, undefined],
    [-1, 100, -1],
    [undefined, -1, -1],
    [300, 100, 200],
    [100, 100, 0],
    [300, -1, 300],
  ])('swap %s with limit %s is memory.swap.max %s', (swap, limit, expected) => {
    expect(swapToSwapMax(swap, limit)).toBe(expected);
  });

  it('is refused without a limit, and below it', () => {
    expect(() => swapToSwapMax(100, undefined)).toThrow(CgroupLimitError);
    expect(() => swapToSwapMax(100, 0)).toThrow('without memory.limit');
    expect(() => swapToSwapMax(50, 100)).toThrow('memory.swap 50 is less than memory.limit 100');
  });
});

it.each([
  ['max 100000', 50_000, undefined, '50000 100000'],
  ['20000 100000', undefined, 200_000, '20000 200000'],
  ['20000 50000', -1, undefined, 'max 50000'],
  ['', 1000, 5000, '1000 5000'],
])('cpu.max %j with quota %s and period %s becomes %j', (current, quota, period, expected) => {
  expect(cpuMax(current, quota, period)).toBe(expected);
});
