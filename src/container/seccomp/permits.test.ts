import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AUDIT_ARCH_X86_64, compileSeccomp } from './compile.js';
import { permits, refusesWith, verdict } from './permits.js';
import type { OciSeccomp } from './profile.js';
import { syscallTable } from './syscalls.js';
import { profiles } from './testing/arbitrary.js';
import { decode, run } from './testing/interpreter.js';

const ENOSYS = 38;

describe('a filter asked about a call', () => {
  it('says what the kernel would say', () => {
    const numbers = [...syscallTable()].flatMap(([call, { x86_64 }]) =>
      x86_64 === undefined ? [] : [{ call, nr: x86_64 }],
    );
    fc.assert(
      fc.property(
        profiles,
        fc.array(
          fc.record({ which: fc.constantFrom(...numbers), arg: fc.constantFrom(0, 1, 2, 16, 0xffff) }),
        ),
        (profile, calls) => {
          let program: ReturnType<typeof compileSeccomp>;
          try {
            program = compileSeccomp(profile);
          } catch {
            return;
          }
          const decoded = decode(program.filter);
          for (const { which, arg } of calls) {
            const data = { nr: which.nr, arch: AUDIT_ARCH_X86_64, args: [BigInt(arg), 0n, 0n, 0n, 0n, 0n] };
            expect(verdict(program, { call: which.call, args: [arg] })).toBe(run(decoded, data).verdict);
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it('tells what passes from what does not', () => {
    const profile: OciSeccomp = {
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [
        { names: ['read'], action: 'SCMP_ACT_ALLOW' },
        { names: ['write'], action: 'SCMP_ACT_LOG' },
        { names: ['ioctl'], action: 'SCMP_ACT_ALLOW', args: [{ index: 1, value: 5, op: 'SCMP_CMP_EQ' }] },
        { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
      ],
    };
    const program = compileSeccomp(profile);
    expect(permits(program, { call: 'read' })).toBe(true);
    expect(permits(program, { call: 'write' })).toBe(true);
    expect(permits(program, { call: 'ioctl', args: [0, 5] })).toBe(true);
    expect(permits(program, { call: 'ioctl', args: [0, 6] })).toBe(false);
    expect(permits(program, { call: 'open' })).toBe(false);
    expect(permits(program, { call: 'no_such_call' })).toBe(false);
    expect(refusesWith(program, { call: 'clone3' }, ENOSYS)).toBe(true);
    expect(refusesWith(program, { call: 'open' }, ENOSYS)).toBe(false);
  });
});
