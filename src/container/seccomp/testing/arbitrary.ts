/** Random profiles and random calls for fast-check: few names and values, so that rules meet each other and calls meet rules. Not shipped. */
import fc from 'fast-check';
import type { OciSeccomp, OciSeccompArg, OciSyscall, SeccompAction } from '../profile.js';
import { SECCOMP_OPERATORS } from '../profile.js';
import { syscallTable } from '../syscalls.js';
import type { SeccompData } from './interpreter.js';

const VALUES = [
  0n,
  1n,
  2n,
  3n,
  16n,
  0xfffen,
  0x10001n,
  0xffffffffn,
  0x100000000n,
  0x100000001n,
  0xffffffff00000000n,
  2n ** 64n - 1n,
];
const uint64 = fc.oneof(fc.constantFrom(...VALUES), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
const member = uint64.map((x) => (x <= Number.MAX_SAFE_INTEGER ? Number(x) : x));

const FAVOURITES = [
  'read',
  'write',
  'socket',
  'socketcall',
  'ipc',
  'semop',
  'recvmmsg',
  'stat64',
  'ioctl',
  'clone',
  'personality',
  'readv',
];
const name = fc.oneof(
  fc.constantFrom(...FAVOURITES),
  fc.constantFrom(...syscallTable().keys()),
  fc.constant('no_such_call'),
);

const argument: fc.Arbitrary<OciSeccompArg> = fc.record(
  {
    index: fc.integer({ min: 0, max: 5 }),
    value: member,
    valueTwo: member,
    op: fc.constantFrom(...SECCOMP_OPERATORS),
  },
  { requiredKeys: ['index', 'value', 'op'] },
);

/** NOTIFY is left out: it forbids names, and its verdict is made like any other's. */
const action = fc.oneof(
  fc
    .constantFrom<SeccompAction>(
      'SCMP_ACT_ALLOW',
      'SCMP_ACT_LOG',
      'SCMP_ACT_TRAP',
      'SCMP_ACT_KILL',
      'SCMP_ACT_KILL_PROCESS',
    )
    .map((a) => ({
      action: a,
    })),
  fc.record(
    {
      action: fc.constantFrom<SeccompAction>('SCMP_ACT_ERRNO', 'SCMP_ACT_TRACE'),
      errnoRet: fc.integer({ min: 0, max: 40 }),
    },
    { requiredKeys: ['action'] },
  ),
);

function rule(maxNames: number): fc.Arbitrary<OciSyscall> {
  return fc
    .tuple(
      fc.array(name, { minLength: 1, maxLength: maxNames }),
      action,
      fc.array(argument, { maxLength: 3 }),
    )
    .map(([names, what, args]) => ({ names, ...what, ...(args.length === 0 ? {} : { args }) }));
}

/** A profile that the parser would accept. */
export const profiles: fc.Arbitrary<OciSeccomp> = fc
  .tuple(
    action,
    fc.subarray(['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32', 'SCMP_ARCH_AARCH64'] as const),
    fc.oneof(fc.array(rule(4), { maxLength: 12 }), fc.array(rule(80), { maxLength: 6 })),
  )
  .map(([fallback, architectures, syscalls]) => ({
    defaultAction: fallback.action,
    ...('errnoRet' in fallback && fallback.errnoRet !== undefined
      ? { defaultErrnoRet: fallback.errnoRet }
      : {}),
    architectures,
    syscalls,
  }));

const nr = fc.oneof(
  fc.constantFrom(
    ...FAVOURITES.flatMap((call) =>
      Object.values(syscallTable().get(call) ?? {}).filter((n) => n !== undefined),
    ),
  ),
  fc.integer({ min: 0, max: 480 }),
  fc.integer({ min: 0, max: 560 }).map((n) => n + 2 ** 30),
  fc.constantFrom(0x3fffffff, 0x40000000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff),
);

/** A call; x86-64's two architectures mostly. */
export const calls: fc.Arbitrary<SeccompData> = fc.record({
  nr,
  arch: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(0xc000003e, 0x40000003) },
    fc.constantFrom(0, 0xc00000b7),
  ),
  args: fc.array(uint64, { minLength: 6, maxLength: 6 }),
});
