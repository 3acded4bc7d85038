import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { exactJson, parseExactJson } from './exact-json.js';
import { parseSeccomp, SeccompProfileError } from './profile.js';
import { profiles } from './testing/arbitrary.js';

const parse = (value: unknown) => parseSeccomp(value, '/linux/seccomp');
const rule = (extra: object) => ({
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [{ names: ['read'], action: 'SCMP_ACT_ERRNO', ...extra }],
});
const arg = (extra: object) => rule({ args: [{ index: 0, value: 1, op: 'SCMP_CMP_EQ', ...extra }] });

describe('the parser of seccomp profiles', () => {
  it('gives back what it is given, for every profile that is right', () => {
    fc.assert(
      fc.property(profiles, (profile) => {
        const text = exactJson(profile);
        expect(exactJson(parse(parseExactJson(text)))).toBe(exactJson(parse(profile)));
      }),
    );
  });

  it('takes null for absent, leaves unknown members out, and knows an empty list of flags from none', () => {
    const value = {
      defaultAction: 'SCMP_ACT_LOG',
      syscalls: null,
      comment: 'x',
      flags: [],
      architectures: null,
    };
    expect(parse(value)).toEqual({ defaultAction: 'SCMP_ACT_LOG', flags: [] });
    expect(parse({ defaultAction: 'SCMP_ACT_LOG' })).toEqual({ defaultAction: 'SCMP_ACT_LOG' });
  });

  it.each([
    ['nothing at all', undefined, ': an object is needed, not undefined'],
    ['no default', {}, '/defaultAction: a string is needed, not nothing'],
    ['an unknown default', { defaultAction: 'ALLOW' }, '/defaultAction: "ALLOW" is no action'],
    [
      'an errno that the default does not return',
      { defaultAction: 'SCMP_ACT_ALLOW', defaultErrnoRet: 1 },
      '/defaultErrnoRet: SCMP_ACT_ALLOW returns no errno',
    ],
    [
      'an unknown architecture',
      { defaultAction: 'SCMP_ACT_ALLOW', architectures: ['x86'] },
      '/architectures/0: "x86" is no architecture',
    ],
    [
      'an unknown flag',
      { defaultAction: 'SCMP_ACT_ALLOW', flags: ['TSYNC'] },
      '/flags/0: "TSYNC" is no flag',
    ],
    [
      'metadata for nobody',
      { defaultAction: 'SCMP_ACT_ALLOW', listenerMetadata: 'x' },
      '/listenerMetadata: it must not be set without listenerPath',
    ],
    [
      'rules that are no list',
      { defaultAction: 'SCMP_ACT_ALLOW', syscalls: {} },
      '/syscalls: an array is needed, not an object',
    ],
    ['a rule without names', rule({ names: [] }), '/syscalls/0/names: a rule needs at least one name'],
    ['an empty name', rule({ names: [''] }), '/syscalls/0/names/0: a system call needs a name'],
    [
      'an errno too large',
      rule({ errnoRet: 4096 }),
      '/syscalls/0/errnoRet: a whole number of 0 to 4095 is needed',
    ],
    [
      'an errno of a killing rule',
      rule({ action: 'SCMP_ACT_KILL', errnoRet: 1 }),
      '/errnoRet: SCMP_ACT_KILL returns no errno',
    ],
    [
      'an inherited action',
      rule({ action: 'constructor' }),
      '/syscalls/0/action: "constructor" is no action',
    ],
    ['a seventh argument', arg({ index: 6 }), '/args/0/index: an argument is a number of 0 to 5, not 6'],
    [
      'conditions without number',
      rule({ args: Array.from({ length: 65 }, () => ({ index: 0, value: 1, op: 'SCMP_CMP_EQ' })) }),
      '/syscalls/0/args: a rule has at most 64 conditions, not 65',
    ],
    ['an unknown operator', arg({ op: 'EQ' }), '/args/0/op: "EQ" is no operator'],
    [
      'a negative value',
      arg({ value: -1 }),
      '/args/0/value: a whole number of 0 to 2^64-1 is needed, not -1',
    ],
    [
      'a fraction',
      arg({ valueTwo: 0.5 }),
      '/args/0/valueTwo: a whole number of 0 to 2^64-1 is needed, not 0.5',
    ],
    ['a value beyond 64 bits', arg({ value: 2n ** 64n }), '/args/0/value: a whole number of 0 to 2^64-1'],
    [
      'a rounded value',
      arg({ value: 2 ** 60 }),
      '/args/0/value: 1152921504606847000 was rounded when it was read',
    ],
  ])('refuses %s and says where', (_what, value, message) => {
    const attempt = () => parse(value);
    expect(attempt).toThrow(SeccompProfileError);
    expect(attempt).toThrow(message);
  });

  it('throws nothing but its own error over any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        try {
          parse({
            defaultAction: 'SCMP_ACT_ALLOW',
            syscalls: [{ names: ['read'], action: 'SCMP_ACT_KILL', args: value }],
          });
          parse(value);
        } catch (error) {
          expect(error).toBeInstanceOf(SeccompProfileError);
        }
      }),
    );
  });
});

describe('exact JSON', () => {
  it('keeps the digits of 64-bit integers, and leaves strings and fractions alone', () => {
    const text =
      '{"a":18446744073709551615,"b":"18446744073709551615","c":-9007199254740993,"d":0.1250000000000000000,"e":1e0000000000000000003,"f":"\\"1234567890123456789\\\\"}';
    expect(parseExactJson(text)).toEqual({
      a: 18446744073709551615n,
      b: '18446744073709551615',
      c: -9007199254740993n,
      d: 0.125,
      e: 1000,
      f: '"1234567890123456789\\',
    });
  });

  it('says what JSON.parse says, but for the rounding', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(JSON.parse(exactJson(parseExactJson(text)))).toEqual(JSON.parse(text));
      }),
    );
  });

  it('refuses what is no JSON, at once', () => {
    expect(() => parseExactJson(`"${'\\"'.repeat(200_000)}1234567890123456789`)).toThrow(SyntaxError);
    expect(() => parseExactJson('{1234567890123456789}')).toThrow(SyntaxError);
  });
});
