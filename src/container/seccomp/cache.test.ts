import { describe, expect, it } from 'vitest';
import { cachedSeccomp, SeccompCache } from './cache.js';
import { compileSeccomp } from './compile.js';
import type { OciSeccomp } from './profile.js';

const profile = (value: number | bigint): OciSeccomp => ({
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [{ names: ['ioctl'], action: 'SCMP_ACT_ERRNO', args: [{ index: 1, op: 'SCMP_CMP_EQ', value }] }],
});

describe('the cache of compiled profiles', () => {
  it('compiles a profile once, given as text or parsed', () => {
    const cache = new SeccompCache();
    const first = cache.profile(profile(2n ** 60n));
    expect(cache.profile(profile(2n ** 60n))).toBe(first);
    expect(first).toEqual(compileSeccomp(profile(2n ** 60n)));
    const text = '{"defaultAction":"SCMP_ACT_KILL"}';
    expect(cache.text(text)).toBe(cache.text(text));
    expect(cachedSeccomp(text)).toBe(cachedSeccomp(text));
  });

  it('never answers one profile with another: long texts that differ in one digit have two programs', () => {
    const cache = new SeccompCache();
    const padding = ' '.repeat(100_000);
    const text = (digit: number) => JSON.stringify(profile(digit)) + padding;
    expect(cache.text(text(1)).filter).toEqual(compileSeccomp(profile(1)).filter);
    expect(cache.text(text(2)).filter).toEqual(compileSeccomp(profile(2)).filter);
  });

  it('forgets what was used longest ago beyond its number of entries', () => {
    const cache = new SeccompCache({ entries: 2, characters: 10_000 });
    const one = cache.profile(profile(1));
    cache.profile(profile(2));
    expect(cache.profile(profile(1))).toBe(one);
    cache.profile(profile(3));
    expect(cache.size).toBe(2);
    expect(cache.profile(profile(1))).toBe(one);
  });

  it('holds no more text than its bound, and nothing that is longer by itself', () => {
    const cache = new SeccompCache({ entries: 100, characters: 1000 });
    for (let value = 0; value < 50; value += 1) cache.profile(profile(value));
    expect(cache.size).toBeGreaterThan(0);
    expect(cache.size).toBeLessThan(12);
    const size = cache.size;
    cache.text(JSON.stringify(profile(1)) + ' '.repeat(1000));
    expect(cache.size).toBe(size);
  });

  it('keeps nothing of a profile that is refused', () => {
    const cache = new SeccompCache();
    expect(() => cache.text('{"defaultAction":"x"}', '/linux/seccomp')).toThrow(
      '/linux/seccomp/defaultAction',
    );
    expect(() => cache.text('{"defaultAction":"x"}', '/elsewhere')).toThrow('/elsewhere/defaultAction');
    expect(cache.size).toBe(0);
  });
});
