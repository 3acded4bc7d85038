/**
 * Profiles as people keep them in files for `--security-opt seccomp=FILE`: the OCI form, or the one of Docker and Podman, whose rules
 * depend on the container's capabilities, the machine's architecture and the kernel's version (`includes`, `excludes`), and whose
 * architectures stand in an `archMap`. Gives the OCI form for one container; all rules are checked, those that are left out as well.
 */
import { errnoNumber } from '../../sys/errno.js';
import { type OciSeccomp, parseSeccomp, SeccompProfileError } from './profile.js';

/** What conditions of a profile are compared with. */
export interface ProfileConditions {
  /** The container's bounding set. */
  readonly capabilities: readonly string[];
  /** Release of the kernel, as uname(2) gives it: `6.1.0-18-amd64`. */
  readonly kernel: string;
}

/** How these profiles call this machine. */
const NATIVE = 'amd64';
const NATIVE_ARCHITECTURE = 'SCMP_ARCH_X86_64';

type Members = Readonly<Record<string, unknown>>;

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function membersAt(value: unknown, pointer: string): Members {
  if (value === undefined || value === null) return {};
  if (!isMembers(value)) throw new SeccompProfileError(pointer, 'an object is needed');
  return value;
}

function stringsAt(value: unknown, pointer: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new SeccompProfileError(pointer, 'an array of strings is needed');
  return value.map((item: unknown, index) => {
    if (typeof item !== 'string') throw new SeccompProfileError(`${pointer}/${index}`, 'a string is needed');
    return item;
  });
}

/** Version and major revision of `5.10` or of a release. */
function version(text: string): readonly [number, number] | undefined {
  const [, first, second] = /^(\d{1,5})\.(\d{1,5})/.exec(text) ?? [];
  return first === undefined ? undefined : [Number(first), Number(second)];
}

function isAtLeast(kernel: string, value: unknown, pointer: string): boolean {
  const wanted = typeof value === 'string' && /^\d+\.\d+$/.test(value) ? version(value) : undefined;
  if (wanted === undefined) throw new SeccompProfileError(pointer, 'a kernel version like "5.10" is needed');
  const [first, second] = version(kernel) ?? [0, 0];
  return first > wanted[0] || (first === wanted[0] && second >= wanted[1]);
}

interface Condition {
  readonly capabilities: readonly string[];
  readonly architectures: readonly string[];
  /** Undefined without a minimum. */
  readonly newEnough: boolean | undefined;
}

function conditionAt(value: unknown, kernel: string, pointer: string): Condition {
  const { caps, arches, minKernel } = membersAt(value, pointer);
  const bound = minKernel !== undefined && minKernel !== null && minKernel !== '';
  return {
    capabilities: stringsAt(caps, `${pointer}/caps`),
    architectures: stringsAt(arches, `${pointer}/arches`),
    newEnough: bound ? isAtLeast(kernel, minKernel, `${pointer}/minKernel`) : undefined,
  };
}

/** Whether a rule counts: all of `includes` must be so, nothing of `excludes`. */
function counts(rule: Members, { capabilities, kernel }: ProfileConditions, pointer: string): boolean {
  const includes = conditionAt(rule.includes, kernel, `${pointer}/includes`);
  const excludes = conditionAt(rule.excludes, kernel, `${pointer}/excludes`);
  const has = (name: string) => capabilities.includes(name);
  return (
    includes.capabilities.every(has) &&
    (includes.architectures.length === 0 || includes.architectures.includes(NATIVE)) &&
    includes.newEnough !== false &&
    !excludes.capabilities.some(has) &&
    !excludes.architectures.includes(NATIVE) &&
    excludes.newEnough !== true
  );
}

/** Podman's profiles name the errno as well, and mean the name where both are there. */
function errnoOf(name: unknown, number: unknown, pointer: string): unknown {
  if (name === undefined || name === null || name === '') return number;
  const value = typeof name === 'string' ? errnoNumber(name) : undefined;
  if (value === undefined) throw new SeccompProfileError(pointer, `${JSON.stringify(name)} is no errno`);
  return value;
}

function ruleOf(value: unknown, pointer: string): Members {
  const rule = membersAt(value, pointer);
  const { name, names, errno, errnoRet, ...rest } = rule;
  const listed = Array.isArray(names) && names.length > 0;
  if (typeof name === 'string' && name !== '' && listed) {
    throw new SeccompProfileError(`${pointer}/name`, 'it must not be there beside names');
  }
  return {
    ...rest,
    names: typeof name === 'string' && name !== '' ? [name] : names,
    errnoRet: errnoOf(errno, errnoRet, `${pointer}/errno`),
  };
}

function architecturesOf(document: Members): unknown {
  const { archMap, architectures } = document;
  if (!Array.isArray(archMap) || archMap.length === 0) return architectures;
  if (Array.isArray(architectures) && architectures.length > 0) {
    throw new SeccompProfileError('/archMap', 'it must not be there beside architectures');
  }
  const index = archMap.findIndex(
    (entry: unknown) => membersAt(entry, '/archMap').architecture === NATIVE_ARCHITECTURE,
  );
  if (index < 0) return undefined;
  const { subArchitectures } = membersAt(archMap[index], `/archMap/${index}`);
  return [NATIVE_ARCHITECTURE, ...stringsAt(subArchitectures, `/archMap/${index}/subArchitectures`)];
}

/**
 * Reads a profile of either form.
 * @param value what parseExactJson made of the file
 * @returns the rules that count for a container with these capabilities on this kernel
 * @throws SeccompProfileError with the JSON pointer of what is wrong
 */
export function resolveProfile(value: unknown, conditions: ProfileConditions): OciSeccomp {
  if (!isMembers(value)) return parseSeccomp(value);
  const { syscalls, defaultErrno, defaultErrnoRet } = value;
  if (syscalls !== undefined && syscalls !== null && !Array.isArray(syscalls)) return parseSeccomp(value);
  const list: readonly unknown[] = Array.isArray(syscalls) ? syscalls : [];
  const rules = list.map((rule, index) => ruleOf(rule, `/syscalls/${index}`));
  const profile = parseSeccomp({
    ...value,
    architectures: architecturesOf(value),
    defaultErrnoRet: errnoOf(defaultErrno, defaultErrnoRet, '/defaultErrno'),
    syscalls: rules,
  });
  const kept = profile.syscalls?.filter((_, index) =>
    counts(rules[index] ?? {}, conditions, `/syscalls/${index}`),
  );
  return { ...profile, ...(kept === undefined ? {} : { syscalls: kept }) };
}
