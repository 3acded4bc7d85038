/**
 * What a profile says about each system call number of one ABI: rules by name become verdicts by number. The order of precedence is
 * libseccomp's where it has one: a rule that repeats the default action counts as absent, one without conditions overrides all others of
 * its call, the first of several such stays. Rules with conditions are tried in the profile's order.
 */
import { SeccompTooLongError } from './bpf.js';
import {
  type OciSeccomp,
  type OciSeccompArg,
  type OciSyscall,
  type SeccompAction,
  SeccompProfileError,
} from './profile.js';
import { type Abi, IPC_CODE_MASK, isSyscall, multiplexedCalls, syscallTable } from './syscalls.js';

/** linux/seccomp.h: SECCOMP_RET_*, the most severe first as signed 32-bit numbers, which is how the kernel ranks them. */
const RETURN_VALUES: Readonly<Record<SeccompAction, number>> = {
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_KILL_THREAD: 0x00000000,
  SCMP_ACT_KILL: 0x00000000,
  SCMP_ACT_TRAP: 0x00030000,
  SCMP_ACT_ERRNO: 0x00050000,
  SCMP_ACT_NOTIFY: 0x7fc00000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_ALLOW: 0x7fff0000,
};
export const RET_KILL_PROCESS = RETURN_VALUES.SCMP_ACT_KILL_PROCESS;
const EPERM = 1;
const ENOSYS = 38;
export const RET_ENOSYS = RETURN_VALUES.SCMP_ACT_ERRNO | ENOSYS;

/** The filter's return value for an action; EPERM is the specification's default errno. */
export function returnValue(action: SeccompAction, errnoRet: number | undefined): number {
  const base = RETURN_VALUES[action];
  return action === 'SCMP_ACT_ERRNO' || action === 'SCMP_ACT_TRACE' ? base | (errnoRet ?? EPERM) : base;
}

/** One comparison, unsigned. `bits`: how much of the argument the ABI gives the kernel; the upper half of others is noise. */
export interface Condition {
  readonly index: number;
  readonly op: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge';
  readonly bits: 32 | 64;
  /** Applied to the argument first; all ones but for SCMP_CMP_MASKED_EQ. */
  readonly mask: bigint;
  readonly value: bigint;
}

/** All conditions must hold for the verdict. */
export interface ConditionalVerdict {
  readonly conditions: readonly Condition[];
  readonly verdict: number;
}

/** What happens to a number: a plain verdict, or the first conditional one that fits and else `fallback`. */
export type Leaf = number | { readonly tries: readonly ConditionalVerdict[]; readonly fallback: number };

const OPERATORS = {
  SCMP_CMP_EQ: 'eq',
  SCMP_CMP_NE: 'ne',
  SCMP_CMP_LT: 'lt',
  SCMP_CMP_LE: 'le',
  SCMP_CMP_GT: 'gt',
  SCMP_CMP_GE: 'ge',
} as const;
const ALL_ONES = { 32: 0xffffffffn, 64: 0xffffffffffffffffn } as const;

/** A condition for an ABI's width; true or false where the width alone decides. */
function narrow(arg: OciSeccompArg, bits: 32 | 64): Condition | boolean {
  const ones = ALL_ONES[bits];
  if (arg.op === 'SCMP_CMP_MASKED_EQ') {
    const mask = BigInt(arg.value) & ones;
    if (mask === 0n) return true;
    return { index: arg.index, op: 'eq', bits, mask, value: BigInt(arg.valueTwo ?? 0) & mask };
  }
  const op = OPERATORS[arg.op];
  const value = BigInt(arg.value);
  // Equality looks at the low half, so that -1 is -1 everywhere; an order is that of the numbers.
  if (value > ones && op !== 'eq' && op !== 'ne') return op === 'lt' || op === 'le';
  return { index: arg.index, op, bits, mask: ones, value: value & ones };
}

interface Entry {
  readonly tries: ConditionalVerdict[];
  /** Conditions seen, with verdict and rule: two verdicts under one condition contradict each other. */
  readonly seen: Map<string, { verdict: number; rule: string }>;
}

/** Collects the verdicts of one ABI. Most rules have no conditions: those cost a number in a map. */
class Collector {
  readonly #plain = new Map<number, Leaf>();
  readonly #conditional = new Map<number, Entry>();
  readonly #bits: 32 | 64;

  constructor(abi: Abi) {
    this.#bits = abi === 'i386' ? 32 : 64;
  }

  #entry(number: number): Entry {
    let entry = this.#conditional.get(number);
    if (entry === undefined) {
      entry = { tries: [], seen: new Map() };
      this.#conditional.set(number, entry);
    }
    return entry;
  }

  /**
   * Adds a rule for a number. `rule` and `name` are for the message about a contradiction; without `rule` the one that was there stays.
   */
  add(number: number, args: readonly OciSeccompArg[], verdict: number, name: string, rule?: string): void {
    if (args.length === 0) {
      if (!this.#plain.has(number)) this.#plain.set(number, verdict);
      return;
    }
    const conditions: Condition[] = [];
    for (const arg of args) {
      const condition = narrow(arg, this.#bits);
      if (condition === false) return;
      if (condition !== true) conditions.push(condition);
    }
    if (conditions.length === 0) {
      this.add(number, [], verdict, name, rule);
      return;
    }
    const entry = this.#entry(number);
    const key = conditions
      .map((c) => `${c.index} ${c.op} ${c.mask} ${c.value}`)
      .sort()
      .join();
    const before = entry.seen.get(key);
    if (before === undefined) {
      entry.seen.set(key, { verdict, rule: rule ?? name });
      entry.tries.push({ conditions, verdict });
    } else if (rule !== undefined && before.verdict !== verdict) {
      throw new SeccompProfileError(
        rule,
        `it gives ${name} another action than ${before.rule} under the same conditions`,
        'remove one of the two rules',
      );
    }
  }

  /** Verdicts by number; where conditions do not hold, `fallback`. */
  leaves(fallback: number): Map<number, Leaf> {
    for (const [number, { tries }] of this.#conditional) {
      if (!this.#plain.has(number)) this.#plain.set(number, { tries, fallback });
    }
    return this.#plain;
  }
}

/** Conditions on one argument twice are alternatives: what libseccomp cannot express, runc and crun have always read so. */
function alternatives(args: readonly OciSeccompArg[]): readonly (readonly OciSeccompArg[])[] {
  const distinct = new Set(args.map((arg) => arg.index));
  return distinct.size === args.length ? [args] : args.map((arg) => [arg]);
}

/** The more severe of two return values, as the kernel ranks them (seccomp(2)). */
function severer(a: number, b: number): number {
  const rank = (value: number) => (value & 0xffff0000) | 0;
  return rank(b) < rank(a) ? b : a;
}

/** One call inside a multiplexer: its arguments lie in memory, out of the filter's sight. */
function multiplexedVerdict(rules: readonly RuleOfName[], fallback: number): number {
  const plain = rules.find((rule) => rule.args.length === 0);
  if (plain !== undefined) return plain.verdict;
  // Whether a condition holds cannot be seen; the severest answer that the profile could give is the safe one.
  return rules.reduce((verdict, rule) => severer(verdict, rule.verdict), fallback);
}

interface RuleOfName {
  readonly pointer: string;
  readonly verdict: number;
  readonly args: readonly OciSeccompArg[];
}

/** Conditions, by rule and name, that are looked at at all: far beyond what a filter could hold, soon enough to stop a hostile profile. */
const MAX_CONDITIONS = 65_536;

/** The rules that count, by the name of their call: unknown names and what repeats the default are dropped. */
export type RulesByName = ReadonlyMap<string, readonly RuleOfName[]>;

/** @throws SeccompTooLongError for more conditions than any filter holds */
export function rulesByName(profile: OciSeccomp, pointer: string): RulesByName {
  const fallback = returnValue(profile.defaultAction, profile.defaultErrnoRet);
  const byName = new Map<string, RuleOfName[]>();
  let conditions = 0;
  profile.syscalls?.forEach((rule: OciSyscall, index) => {
    const verdict = returnValue(rule.action, rule.errnoRet);
    if (verdict === fallback) return;
    const where = `${pointer}/syscalls/${index}`;
    const variants = alternatives(rule.args ?? []).map((args) => ({ pointer: where, verdict, args }));
    for (const name of rule.names) {
      if (!isSyscall(name)) continue;
      conditions += rule.args?.length ?? 0;
      if (conditions > MAX_CONDITIONS) throw new SeccompTooLongError();
      const known = byName.get(name);
      if (known === undefined) byName.set(name, variants.slice());
      else for (const variant of variants) known.push(variant);
    }
  });
  return byName;
}

/** Verdicts by number for an ABI; numbers that are absent get `fallback`. */
export function verdicts(rules: RulesByName, abi: Abi, fallback: number): Map<number, Leaf> {
  const table = syscallTable();
  const collector = new Collector(abi);
  rules.forEach((list, name) => {
    const number = table.get(name)?.[abi];
    if (number === undefined) return;
    for (const rule of list) collector.add(number, rule.args, rule.verdict, name, rule.pointer);
  });
  if (abi === 'i386') addMultiplexed(rules, collector, fallback);
  return collector.leaves(fallback);
}

/** i386 reaches sockets and System V IPC through socketcall(2) and ipc(2), too: a rule on the call holds there as well. */
function addMultiplexed(rules: RulesByName, collector: Collector, fallback: number): void {
  for (const [name, inside] of multiplexedCalls()) {
    const list = rules.get(name);
    const number = syscallTable().get(inside.by)?.i386;
    if (list === undefined || number === undefined) continue;
    const verdict = multiplexedVerdict(list, fallback);
    if (verdict === fallback) continue;
    const arg: OciSeccompArg = {
      index: 0,
      op: 'SCMP_CMP_MASKED_EQ',
      value: inside.by === 'ipc' ? IPC_CODE_MASK : 0xffffffff,
      valueTwo: inside.code,
    };
    collector.add(number, [arg], verdict, name);
  }
}
