/**
 * What a profile says, by going through its rules one by one for each call: slow, short, and written without a look at the compiler,
 * which the tests compare with it. Not shipped.
 */
import type { OciSeccomp, OciSeccompArg, OciSyscall } from '../profile.js';
import { type Abi, multiplexedCalls, syscallTable } from '../syscalls.js';
import type { SeccompData } from './interpreter.js';

const KILL_PROCESS = 0x80000000;
const ENOSYS = 0x00050026;

function value(action: OciSyscall['action'], errno = 1): number {
  switch (action) {
    case 'SCMP_ACT_KILL':
    case 'SCMP_ACT_KILL_THREAD':
      return 0;
    case 'SCMP_ACT_KILL_PROCESS':
      return KILL_PROCESS;
    case 'SCMP_ACT_TRAP':
      return 0x30000;
    case 'SCMP_ACT_ERRNO':
      return 0x50000 + errno;
    case 'SCMP_ACT_NOTIFY':
      return 0x7fc00000;
    case 'SCMP_ACT_TRACE':
      return 0x7ff00000 + errno;
    case 'SCMP_ACT_LOG':
      return 0x7ffc0000;
    case 'SCMP_ACT_ALLOW':
      return 0x7fff0000;
  }
}

const numbers = {
  x86_64: new Map<number, string>(),
  i386: new Map<number, string>(),
  x32: new Map<number, string>(),
};
for (const [name, by] of syscallTable()) {
  for (const abi of ['x86_64', 'i386', 'x32'] as const) {
    const number = by[abi];
    if (number !== undefined) numbers[abi].set(number, name);
  }
}

function holds(arg: OciSeccompArg, args: readonly bigint[], abi: Abi): boolean {
  const cut = (x: bigint) => (abi === 'i386' ? BigInt.asUintN(32, x) : x);
  const actual = cut(args[arg.index] ?? 0n);
  const one = BigInt(arg.value);
  switch (arg.op) {
    case 'SCMP_CMP_EQ':
      return actual === cut(one);
    case 'SCMP_CMP_NE':
      return actual !== cut(one);
    case 'SCMP_CMP_LT':
      return actual < one;
    case 'SCMP_CMP_LE':
      return actual <= one;
    case 'SCMP_CMP_GT':
      return actual > one;
    case 'SCMP_CMP_GE':
      return actual >= one;
    case 'SCMP_CMP_MASKED_EQ':
      return cut(actual & one) === cut(BigInt(arg.valueTwo ?? 0) & one);
  }
}

function fits(rule: OciSyscall, args: readonly bigint[], abi: Abi): boolean {
  const list = rule.args ?? [];
  const repeated = new Set(list.map((arg) => arg.index)).size < list.length;
  return repeated ? list.some((arg) => holds(arg, args, abi)) : list.every((arg) => holds(arg, args, abi));
}

/** Whether a rule holds for all arguments that the ABI can give it. */
function always(rule: OciSyscall, abi: Abi): boolean {
  const certain = (arg: OciSeccompArg) => {
    const top = abi === 'i386' ? 0xffffffffn : 0xffffffffffffffffn;
    const one = BigInt(arg.value);
    if (arg.op === 'SCMP_CMP_MASKED_EQ') return (one & top) === 0n;
    return (arg.op === 'SCMP_CMP_LT' || arg.op === 'SCMP_CMP_LE') && one > top;
  };
  const list = rule.args ?? [];
  const repeated = new Set(list.map((arg) => arg.index)).size < list.length;
  return repeated ? list.some(certain) : list.every(certain);
}

function severity(verdict: number): number {
  return [KILL_PROCESS, 0, 0x30000, 0x50000, 0x7fc00000, 0x7ff00000, 0x7ffc0000, 0x7fff0000].indexOf(
    (verdict & 0xffff0000) >>> 0,
  );
}

/** The verdict of a profile on a call. */
export function naiveVerdict(profile: OciSeccomp, data: SeccompData): number {
  const fallback = value(profile.defaultAction, profile.defaultErrnoRet);
  let abi: Abi;
  if (data.arch === 0xc000003e) {
    if (data.nr === 0xffffffff) return fallback;
    abi = data.nr >= 2 ** 30 ? 'x32' : 'x86_64';
    if (abi === 'x32' && !profile.architectures?.includes('SCMP_ARCH_X32')) return KILL_PROCESS;
  } else if (data.arch === 0x40000003 && profile.architectures?.includes('SCMP_ARCH_X86')) abi = 'i386';
  else return KILL_PROCESS;

  const all = profile.syscalls ?? [];
  const worth = all.filter((rule) => value(rule.action, rule.errnoRet) !== fallback);
  const name = numbers[abi].get(data.nr);
  if (name !== undefined) {
    const mine = worth.filter((rule) => rule.names.includes(name));
    const found = mine.find((rule) => always(rule, abi)) ?? mine.find((rule) => fits(rule, data.args, abi));
    if (found !== undefined) return value(found.action, found.errnoRet);
    if (abi === 'i386' && (name === 'socketcall' || name === 'ipc')) {
      const first = Number(data.args[0] ?? 0n) % 2 ** 32;
      const code = name === 'ipc' ? first % 65536 : first;
      const inner = [...new Set(worth.flatMap((rule) => rule.names))].filter((candidate) => {
        const inside = multiplexedCalls().get(candidate);
        return inside?.by === name && inside.code === code;
      });
      for (const call of inner) {
        const rules = worth.filter((rule) => rule.names.includes(call));
        const sure = rules.find((rule) => (rule.args ?? []).length === 0);
        if (sure !== undefined) return value(sure.action, sure.errnoRet);
        return rules
          .map((rule) => value(rule.action, rule.errnoRet))
          .reduce((worst, verdict) => (severity(verdict) < severity(worst) ? verdict : worst), fallback);
      }
    }
  }
  const permissive = ['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_TRACE'].includes(profile.defaultAction);
  if (permissive) return fallback;
  const named = all.flatMap((rule) => rule.names).flatMap((call) => syscallTable().get(call)?.[abi] ?? []);
  return named.length > 0 && data.nr > Math.max(...named) ? ENOSYS : fallback;
}
