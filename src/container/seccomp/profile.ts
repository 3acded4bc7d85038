/**
 * A seccomp profile as the OCI runtime-spec writes it (config-linux.md, "Seccomp"), and its strict parser. Refuses wrong types, unknown
 * names of actions, architectures, flags and operators, and combinations that the specification forbids, each with the JSON pointer of
 * the offending member. Unknown members are ignored, as the specification asks; unknown system calls are the compiler's affair.
 */
import { TvmmError } from '../../sys/errors.js';

export const SECCOMP_ACTIONS = [
  'SCMP_ACT_KILL',
  'SCMP_ACT_KILL_PROCESS',
  'SCMP_ACT_KILL_THREAD',
  'SCMP_ACT_TRAP',
  'SCMP_ACT_ERRNO',
  'SCMP_ACT_TRACE',
  'SCMP_ACT_ALLOW',
  'SCMP_ACT_LOG',
  'SCMP_ACT_NOTIFY',
] as const;
export type SeccompAction = (typeof SECCOMP_ACTIONS)[number];

export const SECCOMP_ARCHITECTURES = [
  'SCMP_ARCH_X86',
  'SCMP_ARCH_X86_64',
  'SCMP_ARCH_X32',
  'SCMP_ARCH_ARM',
  'SCMP_ARCH_AARCH64',
  'SCMP_ARCH_MIPS',
  'SCMP_ARCH_MIPS64',
  'SCMP_ARCH_MIPS64N32',
  'SCMP_ARCH_MIPSEL',
  'SCMP_ARCH_MIPSEL64',
  'SCMP_ARCH_MIPSEL64N32',
  'SCMP_ARCH_PPC',
  'SCMP_ARCH_PPC64',
  'SCMP_ARCH_PPC64LE',
  'SCMP_ARCH_S390',
  'SCMP_ARCH_S390X',
  'SCMP_ARCH_PARISC',
  'SCMP_ARCH_PARISC64',
  'SCMP_ARCH_RISCV64',
  'SCMP_ARCH_LOONGARCH64',
  'SCMP_ARCH_M68K',
  'SCMP_ARCH_SH',
  'SCMP_ARCH_SHEB',
] as const;
export type SeccompArchitecture = (typeof SECCOMP_ARCHITECTURES)[number];

export const SECCOMP_FLAGS = [
  'SECCOMP_FILTER_FLAG_TSYNC',
  'SECCOMP_FILTER_FLAG_LOG',
  'SECCOMP_FILTER_FLAG_SPEC_ALLOW',
  'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV',
] as const;
export type SeccompFlag = (typeof SECCOMP_FLAGS)[number];

export const SECCOMP_OPERATORS = [
  'SCMP_CMP_NE',
  'SCMP_CMP_LT',
  'SCMP_CMP_LE',
  'SCMP_CMP_EQ',
  'SCMP_CMP_GE',
  'SCMP_CMP_GT',
  'SCMP_CMP_MASKED_EQ',
] as const;
export type SeccompOperator = (typeof SECCOMP_OPERATORS)[number];

/** A condition on one argument. Values are uint64: a bigint where a number would be rounded. */
export interface OciSeccompArg {
  /** 0 to 5. */
  readonly index: number;
  /** What is compared with; the mask for `SCMP_CMP_MASKED_EQ`. */
  readonly value: number | bigint;
  /** What the masked argument is compared with, for `SCMP_CMP_MASKED_EQ` alone. */
  readonly valueTwo?: number | bigint;
  readonly op: SeccompOperator;
}

/** A rule: an action for some calls, under conditions that must all hold. */
export interface OciSyscall {
  readonly names: readonly string[];
  readonly action: SeccompAction;
  readonly errnoRet?: number;
  readonly args?: readonly OciSeccompArg[];
}

/** `linux.seccomp` of config.json. */
export interface OciSeccomp {
  readonly defaultAction: SeccompAction;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly SeccompArchitecture[];
  readonly flags?: readonly SeccompFlag[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: readonly OciSyscall[];
}

/** A profile that cannot be used; `pointer` names the member. */
export class SeccompProfileError extends TvmmError {
  /** JSON pointer (RFC 6901) from the document's root, as far as the caller named it. */
  readonly pointer: string;

  constructor(pointer: string, message: string, hint?: string, cause?: unknown) {
    super(`seccomp profile${pointer === '' ? '' : `, ${pointer}`}: ${message}`, {
      code: 'SECCOMP_PROFILE_INVALID',
      ...(hint === undefined ? {} : { hint }),
      ...(cause === undefined ? {} : { cause }),
    });
    this.pointer = pointer;
  }
}

/** The largest errno that the kernel passes on (linux/err.h, MAX_ERRNO). */
const MAX_ERRNO = 4095;
/** A tracer gets 16 bits (seccomp(2), SECCOMP_RET_DATA). */
const MAX_TRACE_DATA = 0xffff;
/** Six are all that can hold together; more are alternatives on the same argument. */
const MAX_ARGS = 64;
const UINT64_MAX = (1n << 64n) - 1n;

type Members = Readonly<Record<string, unknown>>;

/** What was found, in a few words, for a message. */
function show(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  return String(value);
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A member, where JSON's null says as much as its absence. */
function member(object: Members, name: string): unknown {
  const value = Object.hasOwn(object, name) ? object[name] : undefined;
  return value === null ? undefined : value;
}

function objectAt(value: unknown, pointer: string): Members {
  if (!isMembers(value)) throw new SeccompProfileError(pointer, `an object is needed, not ${show(value)}`);
  return value;
}

function listAt(value: unknown, pointer: string): readonly unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new SeccompProfileError(pointer, `an array is needed, not ${show(value)}`);
  return value;
}

function stringAt(value: unknown, pointer: string): string {
  if (typeof value !== 'string') {
    throw new SeccompProfileError(
      pointer,
      `a string is needed, not ${value === undefined ? 'nothing' : show(value)}`,
    );
  }
  return value;
}

function oneOf<T extends string>(value: unknown, known: readonly T[], what: string, pointer: string): T {
  const text = stringAt(value, pointer);
  const found = known.find((name) => name === text);
  if (found === undefined) {
    throw new SeccompProfileError(pointer, `${show(text)} is no ${what}`, `use one of ${known.join(', ')}`);
  }
  return found;
}

/** Whether an action carries an errno (or, for a tracer, a number) of its own. */
function takesErrno(action: SeccompAction): boolean {
  return action === 'SCMP_ACT_ERRNO' || action === 'SCMP_ACT_TRACE';
}

function errnoAt(value: unknown, action: SeccompAction, pointer: string): number | undefined {
  if (value === undefined) return undefined;
  if (!takesErrno(action)) {
    throw new SeccompProfileError(
      pointer,
      `${action} returns no errno`,
      'leave it out, or use SCMP_ACT_ERRNO',
    );
  }
  const limit = action === 'SCMP_ACT_ERRNO' ? MAX_ERRNO : MAX_TRACE_DATA;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > limit) {
    throw new SeccompProfileError(pointer, `a whole number of 0 to ${limit} is needed, not ${show(value)}`);
  }
  return value;
}

function uint64At(value: unknown, pointer: string): number | bigint {
  if (typeof value === 'bigint' && value >= 0n && value <= UINT64_MAX) return value;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) {
    if (Number.isSafeInteger(value)) return value;
    throw new SeccompProfileError(
      pointer,
      `${value} was rounded when it was read`,
      'read the text with parseExactJson',
    );
  }
  const found = value === undefined ? 'nothing' : show(value);
  throw new SeccompProfileError(pointer, `a whole number of 0 to 2^64-1 is needed, not ${found}`);
}

function parseArg(value: unknown, pointer: string): OciSeccompArg {
  const object = objectAt(value, pointer);
  const op = oneOf(member(object, 'op'), SECCOMP_OPERATORS, 'operator', `${pointer}/op`);
  const index = member(object, 'index');
  if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index > 5) {
    throw new SeccompProfileError(
      `${pointer}/index`,
      `an argument is a number of 0 to 5, not ${show(index)}`,
    );
  }
  const two = member(object, 'valueTwo');
  return {
    index,
    value: uint64At(member(object, 'value'), `${pointer}/value`),
    ...(two === undefined ? {} : { valueTwo: uint64At(two, `${pointer}/valueTwo`) }),
    op,
  };
}

function parseRule(value: unknown, pointer: string): OciSyscall {
  const object = objectAt(value, pointer);
  const names = listAt(member(object, 'names'), `${pointer}/names`).map((name, index) => {
    const text = stringAt(name, `${pointer}/names/${index}`);
    if (text === '') throw new SeccompProfileError(`${pointer}/names/${index}`, 'a system call needs a name');
    return text;
  });
  if (names.length === 0) throw new SeccompProfileError(`${pointer}/names`, 'a rule needs at least one name');
  const action = oneOf(member(object, 'action'), SECCOMP_ACTIONS, 'action', `${pointer}/action`);
  const errnoRet = errnoAt(member(object, 'errnoRet'), action, `${pointer}/errnoRet`);
  const list = listAt(member(object, 'args'), `${pointer}/args`);
  if (list.length > MAX_ARGS) {
    throw new SeccompProfileError(
      `${pointer}/args`,
      `a rule has at most ${MAX_ARGS} conditions, not ${list.length}`,
    );
  }
  const args = list.map((arg, index) => parseArg(arg, `${pointer}/args/${index}`));
  return {
    names,
    action,
    ...(errnoRet === undefined ? {} : { errnoRet }),
    ...(args.length === 0 ? {} : { args }),
  };
}

/**
 * Parses `linux.seccomp` of config.json.
 * @param value what a JSON parser made of it; integers beyond 2^53 must be bigints (see parseExactJson)
 * @param pointer where it stands in its document, for messages: `/linux/seccomp`
 * @throws SeccompProfileError naming the first member that is wrong
 */
export function parseSeccomp(value: unknown, pointer = ''): OciSeccomp {
  const object = objectAt(value, pointer);
  const defaultAction = oneOf(
    member(object, 'defaultAction'),
    SECCOMP_ACTIONS,
    'action',
    `${pointer}/defaultAction`,
  );
  const defaultErrnoRet = errnoAt(
    member(object, 'defaultErrnoRet'),
    defaultAction,
    `${pointer}/defaultErrnoRet`,
  );
  const architectures = listAt(member(object, 'architectures'), `${pointer}/architectures`).map(
    (name, index) => oneOf(name, SECCOMP_ARCHITECTURES, 'architecture', `${pointer}/architectures/${index}`),
  );
  const flagList = member(object, 'flags');
  const flags = listAt(flagList, `${pointer}/flags`).map((name, index) =>
    oneOf(name, SECCOMP_FLAGS, 'flag of seccomp(2)', `${pointer}/flags/${index}`),
  );
  const syscalls = listAt(member(object, 'syscalls'), `${pointer}/syscalls`).map((rule, index) =>
    parseRule(rule, `${pointer}/syscalls/${index}`),
  );
  const listener: { listenerPath?: string; listenerMetadata?: string } = {};
  for (const name of ['listenerPath', 'listenerMetadata'] as const) {
    const text = member(object, name);
    if (text !== undefined && text !== '') listener[name] = stringAt(text, `${pointer}/${name}`);
  }
  if (listener.listenerMetadata !== undefined && listener.listenerPath === undefined) {
    throw new SeccompProfileError(`${pointer}/listenerMetadata`, 'it must not be set without listenerPath');
  }
  return {
    defaultAction,
    ...(defaultErrnoRet === undefined ? {} : { defaultErrnoRet }),
    ...(architectures.length === 0 ? {} : { architectures }),
    // An empty list says "no flags", an absent one leaves the choice to the runtime.
    ...(flagList === undefined ? {} : { flags }),
    ...listener,
    ...(syscalls.length === 0 ? {} : { syscalls }),
  };
}
