import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resolveProfile } from './docker-profile.js';
import { parseSeccomp, SeccompProfileError } from './profile.js';
import { profiles } from './testing/arbitrary.js';

const HOST = { capabilities: ['CAP_CHOWN', 'CAP_SYS_CHROOT'], kernel: '6.1.0-18-amd64' };
const resolve = (value: unknown) => resolveProfile(value, HOST);
const rule = (extra: object) => ({ names: ['read'], action: 'SCMP_ACT_ALLOW', ...extra });
const kept = (extra: object) =>
  (resolve({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: [rule(extra)] }).syscalls ?? []).length === 1;

describe('a profile in a file', () => {
  it('may have the OCI form, which stays what it is', () => {
    fc.assert(
      fc.property(profiles, (profile) => {
        expect(resolve(profile)).toEqual(parseSeccomp(profile));
      }),
    );
  });

  it('may have architectures with their relatives', () => {
    const archMap = [
      { architecture: 'SCMP_ARCH_AARCH64', subArchitectures: ['SCMP_ARCH_ARM'] },
      { architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'] },
    ];
    expect(resolve({ defaultAction: 'SCMP_ACT_ERRNO', archMap }).architectures).toEqual([
      'SCMP_ARCH_X86_64',
      'SCMP_ARCH_X86',
      'SCMP_ARCH_X32',
    ]);
    expect(() =>
      resolve({ defaultAction: 'SCMP_ACT_ERRNO', archMap, architectures: ['SCMP_ARCH_X86'] }),
    ).toThrow('/archMap: it must not be there beside architectures');
  });

  it.each([
    [{ includes: { caps: ['CAP_CHOWN', 'CAP_SYS_CHROOT'] } }, true],
    [{ includes: { caps: ['CAP_CHOWN', 'CAP_SYS_ADMIN'] } }, false],
    [{ excludes: { caps: ['CAP_CHOWN', 'CAP_SYS_ADMIN'] } }, false],
    [{ excludes: { caps: ['CAP_SYS_ADMIN'] } }, true],
    [{ includes: { arches: ['amd64', 'x32'] } }, true],
    [{ includes: { arches: ['arm64'] } }, false],
    [{ excludes: { arches: ['amd64'] } }, false],
    [{ includes: { minKernel: '4.8' } }, true],
    [{ includes: { minKernel: '6.2' } }, false],
    [{ includes: { minKernel: '6.1' } }, true],
    [{ excludes: { minKernel: '4.8' } }, false],
    [{ excludes: { minKernel: '10.0' } }, true],
    [{ includes: null, excludes: {}, comment: 'x' }, true],
  ])('counts a rule with %j: %s', (extra, expected) => {
    expect(kept(extra)).toBe(expected);
  });

  it('may name one call by name, and errnos by theirs', () => {
    const profile = resolve({
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrno: 'ENOSYS',
      defaultErrnoRet: 1,
      syscalls: [{ name: 'read', action: 'SCMP_ACT_ERRNO', errno: 'EPERM', args: [] }],
    });
    expect(profile).toEqual({
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 38,
      syscalls: [{ names: ['read'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 }],
    });
  });

  it.each([
    ['a name beside names', rule({ name: 'write' }), '/syscalls/0/name: it must not be there beside names'],
    ['an errno that is none', rule({ errno: 'toString' }), '/syscalls/0/errno: "toString" is no errno'],
    [
      'conditions that are no object',
      rule({ includes: 'CAP_CHOWN' }),
      '/syscalls/0/includes: an object is needed',
    ],
    [
      'capabilities that are no list',
      rule({ excludes: { caps: 'CAP_CHOWN' } }),
      '/syscalls/0/excludes/caps: an array',
    ],
    [
      'a version that is none',
      rule({ includes: { minKernel: '6' } }),
      '/includes/minKernel: a kernel version',
    ],
    [
      'a rule that is left out and wrong',
      rule({ action: 'x', includes: { arches: ['arm'] } }),
      '/syscalls/0/action: "x"',
    ],
  ])('is refused for %s', (_what, value, message) => {
    const attempt = () => resolve({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: [value] });
    expect(attempt).toThrow(SeccompProfileError);
    expect(attempt).toThrow(message);
  });

  it('throws nothing but its own error over any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (value, other) => {
        for (const document of [
          value,
          {
            defaultAction: 'SCMP_ACT_LOG',
            syscalls: [rule({ includes: value, name: other })],
            archMap: other,
          },
        ]) {
          try {
            resolve(document);
          } catch (error) {
            expect(error).toBeInstanceOf(SeccompProfileError);
          }
        }
      }),
    );
  });
});
