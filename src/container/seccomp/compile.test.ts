import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BPF_MAXINSNS, SeccompTooLongError } from './bpf.js';
import { AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, compileSeccomp } from './compile.js';
import { type OciSeccomp, SeccompProfileError } from './profile.js';
import { syscallTable } from './syscalls.js';
import { calls, profiles } from './testing/arbitrary.js';
import { decode, run, type SeccompData, verify } from './testing/interpreter.js';
import { naiveVerdict } from './testing/naive.js';

const ALLOW = 0x7fff0000;
const KILL_PROCESS = 0x80000000;
const errno = (n: number) => 0x50000 + n;

function verdict(profile: OciSeccomp, data: Partial<SeccompData> & { call?: string }): number {
  const program = decode(compileSeccomp(profile).filter);
  verify(program);
  const arch = data.arch ?? AUDIT_ARCH_X86_64;
  const abi = arch === AUDIT_ARCH_I386 ? 'i386' : 'x86_64';
  const number = data.nr ?? syscallTable().get(data.call ?? '')?.[abi] ?? -1;
  const args = [0n, 0n, 0n, 0n, 0n, 0n].map((zero, index) => data.args?.[index] ?? zero);
  return run(program, { nr: number, arch, args }).verdict;
}

/** A profile compiled, or undefined where two of its random rules contradict each other. */
function compileOrContradiction(profile: OciSeccomp) {
  try {
    return compileSeccomp(profile);
  } catch (error) {
    if (error instanceof SeccompProfileError && error.message.includes('under the same conditions'))
      return undefined;
    throw error;
  }
}

describe('a compiled filter', () => {
  it('answers as the rules do one by one, for random profiles and calls', () => {
    fc.assert(
      fc.property(profiles, fc.array(calls, { minLength: 20, maxLength: 60 }), (profile, list) => {
        const compiled = compileOrContradiction(profile);
        fc.pre(compiled !== undefined);
        const program = decode(compiled.filter);
        verify(program);
        for (const data of list) expect(run(program, data).verdict).toBe(naiveVerdict(profile, data));
      }),
      { numRuns: 400 },
    );
  });

  it('answers as the rules do for every number of every ABI', () => {
    const profile: OciSeccomp = {
      defaultAction: 'SCMP_ACT_ERRNO',
      architectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
      syscalls: [
        { names: [...syscallTable().keys()].filter((_, index) => index % 3 !== 0), action: 'SCMP_ACT_ALLOW' },
        { names: ['read', 'openat'], action: 'SCMP_ACT_TRAP' },
      ],
    };
    const program = decode(compileSeccomp(profile).filter);
    for (const arch of [AUDIT_ARCH_X86_64, AUDIT_ARCH_I386]) {
      for (let nr = 0; nr < 600; nr += 1) {
        for (const bit of [0, 2 ** 30]) {
          const data = { nr: nr + bit, arch, args: [1n, 0n, 0n, 0n, 0n, 0n] };
          expect(run(program, data).verdict, `${nr + bit} of ${arch}`).toBe(naiveVerdict(profile, data));
        }
      }
    }
  });

  it('finds a verdict within a dozen instructions for a profile of 400 names', () => {
    const names = [...syscallTable().keys()].filter((_, index) => index % 7 !== 0);
    const { filter } = compileSeccomp({
      defaultAction: 'SCMP_ACT_ERRNO',
      architectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
      syscalls: [{ names, action: 'SCMP_ACT_ALLOW' }],
    });
    const program = decode(filter);
    for (let nr = 0; nr < 480; nr += 1) {
      expect(run(program, { nr, arch: AUDIT_ARCH_X86_64, args: [] }).steps).toBeLessThanOrEqual(14);
    }
  });
});

describe('architectures', () => {
  const open: OciSeccomp = { defaultAction: 'SCMP_ACT_ALLOW' };

  it('are x86_64 alone when none is named: others end the process', () => {
    expect(verdict(open, { call: 'read' })).toBe(ALLOW);
    expect(verdict(open, { call: 'read', arch: AUDIT_ARCH_I386 })).toBe(KILL_PROCESS);
    expect(verdict(open, { nr: 2 ** 30 })).toBe(KILL_PROCESS);
    expect(verdict(open, { nr: 0, arch: 0xc00000b7 })).toBe(KILL_PROCESS);
  });

  it('let a tracer leave a call out with the number -1', () => {
    expect(verdict(open, { nr: 0xffffffff })).toBe(ALLOW);
  });

  it('include x86_64 even when only others are named', () => {
    expect(verdict({ ...open, architectures: ['SCMP_ARCH_AARCH64'] }, { call: 'read' })).toBe(ALLOW);
  });

  it('have numbers of their own for the same name', () => {
    const profile: OciSeccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
      syscalls: [{ names: ['readv'], action: 'SCMP_ACT_ERRNO' }],
    };
    expect(verdict(profile, { nr: 19 })).toBe(errno(1));
    expect(verdict(profile, { nr: 145, arch: AUDIT_ARCH_I386 })).toBe(errno(1));
    expect(verdict(profile, { nr: 2 ** 30 + 515 })).toBe(errno(1));
    expect(verdict(profile, { nr: 2 ** 30 + 19 })).toBe(ALLOW);
  });
});

describe('conditions', () => {
  const when = (...args: NonNullable<OciSeccomp['syscalls']>[number]['args'] & object): OciSeccomp => ({
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures: ['SCMP_ARCH_X86'],
    syscalls: [{ names: ['ioctl'], action: 'SCMP_ACT_ERRNO', args }],
  });

  it('compare all 64 bits', () => {
    const profile = when({ index: 1, op: 'SCMP_CMP_GT', value: 0x1_0000_0005 });
    expect(verdict(profile, { call: 'ioctl', args: [0n, 0x1_0000_0006n] })).toBe(errno(1));
    expect(verdict(profile, { call: 'ioctl', args: [0n, 0x1_0000_0005n] })).toBe(ALLOW);
    expect(verdict(profile, { call: 'ioctl', args: [0n, 0xffff_ffffn] })).toBe(ALLOW);
    expect(verdict(profile, { call: 'ioctl', args: [0n, 0x2_0000_0000n] })).toBe(errno(1));
  });

  it('look at the low 32 bits of i386 alone: the kernel drops the others, which int 0x80 lets a 64-bit program set', () => {
    const profile = when({ index: 0, op: 'SCMP_CMP_EQ', value: 7 });
    expect(verdict(profile, { call: 'ioctl', arch: AUDIT_ARCH_I386, args: [0xdead_0000_0007n] })).toBe(
      errno(1),
    );
    expect(verdict(profile, { call: 'ioctl', args: [0xdead_0000_0007n] })).toBe(ALLOW);
  });

  it('mask both sides of a masked comparison', () => {
    const profile = when({ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: 0xff, valueTwo: 0xf07 });
    expect(verdict(profile, { call: 'ioctl', args: [0xab07n] })).toBe(errno(1));
    expect(verdict(profile, { call: 'ioctl', args: [0xab08n] })).toBe(ALLOW);
  });

  it('must all hold on distinct arguments, and are alternatives on the same', () => {
    const both = when({ index: 0, op: 'SCMP_CMP_EQ', value: 1 }, { index: 1, op: 'SCMP_CMP_EQ', value: 2 });
    expect(verdict(both, { call: 'ioctl', args: [1n, 2n] })).toBe(errno(1));
    expect(verdict(both, { call: 'ioctl', args: [1n, 3n] })).toBe(ALLOW);
    const either = when({ index: 0, op: 'SCMP_CMP_EQ', value: 1 }, { index: 0, op: 'SCMP_CMP_EQ', value: 2 });
    expect(verdict(either, { call: 'ioctl', args: [2n] })).toBe(errno(1));
    expect(verdict(either, { call: 'ioctl', args: [3n] })).toBe(ALLOW);
  });

  it('give way to a rule without any, wherever that stands', () => {
    const profile = when({ index: 0, op: 'SCMP_CMP_EQ', value: 1 });
    const syscalls = [...(profile.syscalls ?? []), { names: ['ioctl'], action: 'SCMP_ACT_TRAP' } as const];
    expect(verdict({ ...profile, syscalls }, { call: 'ioctl', args: [1n] })).toBe(0x30000);
  });

  it('of a rule that repeats the default count for nothing: a later rule decides', () => {
    const syscalls = [
      { names: ['ioctl'], action: 'SCMP_ACT_ERRNO' },
      { names: ['ioctl'], action: 'SCMP_ACT_ALLOW' },
      { names: ['ioctl'], action: 'SCMP_ACT_TRAP' },
    ] as const;
    expect(verdict({ defaultAction: 'SCMP_ACT_ERRNO', syscalls }, { call: 'ioctl' })).toBe(ALLOW);
  });

  it('of two rules may not be the same with different actions: the message names both rules', () => {
    const args = [{ index: 0, op: 'SCMP_CMP_EQ', value: 1 } as const];
    const profile: OciSeccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [
        { names: ['ioctl', 'fcntl'], action: 'SCMP_ACT_TRAP', args },
        { names: ['fcntl'], action: 'SCMP_ACT_ERRNO', args },
      ],
    };
    expect(() => compileSeccomp(profile, '/linux/seccomp')).toThrow(
      'seccomp profile, /linux/seccomp/syscalls/1: it gives fcntl another action than /linux/seccomp/syscalls/0 under the same conditions',
    );
  });
});

describe('i386 multiplexers', () => {
  const socketcall = { call: 'socketcall', arch: AUDIT_ARCH_I386 };
  const architectures = ['SCMP_ARCH_X86'] as const;

  it('obey the rule of the call inside', () => {
    const profile: OciSeccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures,
      syscalls: [{ names: ['connect', 'shmat'], action: 'SCMP_ACT_ERRNO', errnoRet: 13 }],
    };
    expect(verdict(profile, { ...socketcall, args: [3n] })).toBe(errno(13));
    expect(verdict(profile, { ...socketcall, args: [2n] })).toBe(ALLOW);
    expect(verdict(profile, { call: 'ipc', arch: AUDIT_ARCH_I386, args: [0x1_0015n] })).toBe(errno(13));
  });

  it('do not let through what a condition forbids outside', () => {
    const profile: OciSeccomp = {
      defaultAction: 'SCMP_ACT_ERRNO',
      architectures,
      syscalls: [
        { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, op: 'SCMP_CMP_EQ', value: 1 }] },
        { names: ['accept4'], action: 'SCMP_ACT_ALLOW' },
      ],
    };
    expect(verdict(profile, { ...socketcall, args: [1n] })).toBe(errno(1));
    expect(verdict(profile, { ...socketcall, args: [18n] })).toBe(ALLOW);
  });
});

describe('calls newer than a profile', () => {
  const syscalls = [{ names: ['read', 'exit_group'], action: 'SCMP_ACT_ALLOW' }] as const;

  it('do not exist where the default denies', () => {
    expect(verdict({ defaultAction: 'SCMP_ACT_ERRNO', syscalls }, { call: 'clone3' })).toBe(errno(38));
    expect(verdict({ defaultAction: 'SCMP_ACT_KILL', syscalls }, { nr: 232 })).toBe(errno(38));
    expect(verdict({ defaultAction: 'SCMP_ACT_KILL', syscalls }, { nr: 230 })).toBe(0);
  });

  it('get the default where that lets calls through, and where the profile names none', () => {
    const log: OciSeccomp = { defaultAction: 'SCMP_ACT_LOG', syscalls };
    expect(verdict(log, { call: 'clone3' })).toBe(0x7ffc0000);
    expect(verdict({ defaultAction: 'SCMP_ACT_TRAP' }, { call: 'clone3' })).toBe(0x30000);
  });
});

describe('flags and listener', () => {
  it('are SPEC_ALLOW alone when the profile has no list, none when it has an empty one', () => {
    expect(compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW' }).flags).toBe(4);
    expect(compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW', flags: [] }).flags).toBe(0);
  });

  it('ask for a listener where a rule notifies, and for a killable wait only then', () => {
    const base: OciSeccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      flags: [
        'SECCOMP_FILTER_FLAG_LOG',
        'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV',
        'SECCOMP_FILTER_FLAG_TSYNC',
      ],
      listenerPath: '/run/agent',
      listenerMetadata: 'data',
    };
    expect(compileSeccomp(base)).toMatchObject({ flags: 2, unknown: [] });
    expect(compileSeccomp(base).listener).toBeUndefined();
    const notifying = compileSeccomp({
      ...base,
      syscalls: [{ names: ['mkdir'], action: 'SCMP_ACT_NOTIFY' }],
    });
    expect(notifying.flags).toBe(2 | 8 | 32);
    expect(notifying.listener).toEqual({ path: '/run/agent', metadata: 'data' });
  });

  it('are refused where a notification could never be delivered', () => {
    const listenerPath = '/run/agent';
    expect(() => compileSeccomp({ defaultAction: 'SCMP_ACT_NOTIFY', listenerPath })).toThrow(
      'cannot be the default',
    );
    const sending = [{ names: ['mkdir', 'sendmsg'], action: 'SCMP_ACT_NOTIFY' }] as const;
    expect(() =>
      compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW', listenerPath, syscalls: sending }),
    ).toThrow('seccomp profile, /syscalls/0: SCMP_ACT_NOTIFY cannot be used for sendmsg');
    const mkdir = [{ names: ['mkdir'], action: 'SCMP_ACT_NOTIFY' }] as const;
    expect(() => compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: mkdir })).toThrow(
      'nobody would answer',
    );
  });
});

describe('limits', () => {
  const conditional = (count: number): OciSeccomp => ({
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: Array.from({ length: count }, (_, value) => ({
      names: ['ioctl'],
      action: 'SCMP_ACT_ERRNO',
      errnoRet: value % 100,
      args: [{ index: 1, op: 'SCMP_CMP_EQ', value }],
    })),
  });

  it('let jumps over more than 255 instructions arrive', () => {
    const profile = conditional(700);
    const compiled = compileSeccomp(profile);
    expect(compiled.instructions).toBeGreaterThan(2000);
    for (const value of [0n, 1n, 350n, 699n, 700n]) {
      const args = [0n, value];
      expect(verdict(profile, { call: 'ioctl', args })).toBe(
        value < 700n ? errno(Number(value % 100n)) : ALLOW,
      );
    }
  });

  it('refuse what the kernel would not take', () => {
    expect(() => compileSeccomp(conditional(1500))).toThrow(SeccompTooLongError);
    expect(BPF_MAXINSNS).toBe(4096);
  });

  it('stop a profile that would keep the engine busy: half a million conditions in a few rules', () => {
    const names = [...syscallTable().keys()];
    const args = Array.from({ length: 64 }, () => ({ index: 0, op: 'SCMP_CMP_EQ', value: 1 }) as const);
    const syscalls = Array.from({ length: 20 }, () => ({ names, action: 'SCMP_ACT_TRAP', args }) as const);
    expect(() => compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW', syscalls })).toThrow(SeccompTooLongError);
  });

  it('ignore names that no ABI here knows, and say which', () => {
    const syscalls = [{ names: ['read', 'arm_fadvise64_64', '__proto__'], action: 'SCMP_ACT_TRAP' }] as const;
    expect(compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }).unknown).toEqual([
      'arm_fadvise64_64',
      '__proto__',
    ]);
  });
});
