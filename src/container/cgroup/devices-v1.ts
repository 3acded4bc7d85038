/**
 * The allowed device list on cgroup v1 (Documentation/admin-guide/cgroup-v1/devices.rst). The kernel keeps a default (allow or deny all)
 * and exceptions to it; a rule list is compiled into that form, and the difference to what devices.list shows is written, so that an
 * update disturbs nothing that stays. Lists that the form cannot hold are refused rather than approximated.
 */
import {
  ALL_ACCESS,
  type DeviceRule,
  type DeviceType,
  parseDeviceRules,
  printAccess,
  READ,
  WRITE,
} from './device-rules.js';
import { CgroupDevicesError, cgroupHint, errnoOf } from './errors.js';
import type { CgroupFiles, FileWriter } from './files.js';
import type { OciDeviceRule } from './resources.js';

/** Devices of one pattern, and the kinds of access that are the exception. */
export interface DeviceException {
  readonly type: DeviceType;
  readonly major: number | null;
  readonly minor: number | null;
  access: number;
}

/** The kernel's form of a list. */
export interface DeviceState {
  readonly allowByDefault: boolean;
  /** In the order in which they were first named. */
  readonly exceptions: readonly DeviceException[];
}

type Pattern = Pick<DeviceException, 'type' | 'major' | 'minor'>;

const star = (value: number | null): string => (value === null ? '*' : `${value}`);

/** As the kernel reads and prints it: `c 1:3 rwm`. */
export function printException({ type, major, minor, access }: DeviceException): string {
  return `${type} ${star(major)}:${star(minor)} ${printAccess(access)}`;
}

function covers(wide: Pattern, narrow: Pattern): boolean {
  return (
    wide.type === narrow.type &&
    (wide.major === null || wide.major === narrow.major) &&
    (wide.minor === null || wide.minor === narrow.minor)
  );
}

function meet(a: Pattern, b: Pattern): Pattern | undefined {
  const one = (x: number | null, y: number | null) =>
    x === null ? y : y === null || x === y ? x : undefined;
  const major = one(a.major, b.major);
  const minor = one(a.minor, b.minor);
  return a.type !== b.type || major === undefined || minor === undefined
    ? undefined
    : { type: a.type, major, minor };
}

const same = (a: Pattern, b: Pattern): boolean =>
  a.type === b.type && a.major === b.major && a.minor === b.minor;

/** The list with exceptions to `allowByDefault`; undefined where a rule takes back a part of an earlier exception. */
function compileWith(rules: readonly DeviceRule[], allowByDefault: boolean): DeviceState | undefined {
  // Nothing is allowed before the first rule: with the other default that is said by two exceptions.
  const everything = (): DeviceException[] => [
    { type: 'b', major: null, minor: null, access: ALL_ACCESS },
    { type: 'c', major: null, minor: null, access: ALL_ACCESS },
  ];
  let exceptions: DeviceException[] = allowByDefault ? everything() : [];
  for (const rule of rules) {
    if (rule.allow !== allowByDefault) {
      const known = exceptions.find((one) => same(one, rule));
      if (known !== undefined) known.access |= rule.access;
      else exceptions.push({ type: rule.type, major: rule.major, minor: rule.minor, access: rule.access });
      continue;
    }
    for (const one of exceptions) {
      if ((one.access & rule.access) === 0) continue;
      if (covers(rule, one)) one.access &= ~rule.access;
      else if (meet(rule, one) !== undefined) return undefined;
    }
    exceptions = exceptions.filter(({ access }) => access !== 0);
  }
  return { allowByDefault, exceptions };
}

/**
 * The kernel's form of a rule list.
 *
 * @throws CgroupDevicesError when neither default with exceptions can say what the list says
 */
export function compileDeviceState(rules: readonly DeviceRule[]): DeviceState {
  const full = ({ major, minor, access }: DeviceRule) =>
    major === null && minor === null && access === ALL_ACCESS;
  const allowFirst = rules.findLast(full)?.allow === true;
  const state = compileWith(rules, allowFirst) ?? compileWith(rules, !allowFirst);
  if (state === undefined)
    throw new CgroupDevicesError('cgroup v1 cannot express this list of allowed devices', {
      hint: 'A rule takes back a part of an earlier one: list the devices that remain instead, or use cgroup v2.',
    });
  return state.allowByDefault ? state : { allowByDefault: false, exceptions: joined(state.exceptions) };
}

/**
 * The kernel wants one exception to grant all that an open(2) asks for: where one pattern grants reading and another writing, the devices
 * of both need an exception of their own for O_RDWR. mknod(2) asks for nothing else.
 */
function joined(exceptions: readonly DeviceException[]): DeviceException[] {
  const all = exceptions.map((one) => ({ ...one }));
  const has = (use: number) => all.some(({ access }) => (access & (READ | WRITE)) === use);
  if (!has(READ) || !has(WRITE)) return all;
  for (let i = 0; i < all.length; i++) {
    for (let j = 0; j < i; j++) {
      const [a, b] = [all[i], all[j]];
      if (a === undefined || b === undefined) continue;
      const both = meet(a, b);
      const use = (a.access | b.access) & (READ | WRITE);
      if (both === undefined || use !== (READ | WRITE)) continue;
      if (all.some((one) => covers(one, both) && (one.access & use) === use)) continue;
      const known = all.find((one) => same(one, both));
      if (known !== undefined) known.access |= use;
      else all.push({ ...both, access: use });
    }
  }
  return all;
}

/** devices.list: one `a *:* rwm` for "all allowed" (exceptions are then not shown), else the exceptions. */
export function parseDevicesList(text: string): DeviceState {
  const exceptions: DeviceException[] = [];
  for (const line of text.split('\n')) {
    const match = /^([abc]) (\*|\d+):(\*|\d+) ([rwm]+)$/.exec(line.trim());
    if (match === null) continue;
    const [, type, major, minor, access = ''] = match;
    if (type === 'a') return { allowByDefault: true, exceptions: [] };
    const value = (digits: string | undefined) => (digits === '*' ? null : Number(digits));
    const bits = parseDeviceRules([{ allow: true, access }])[0]?.access ?? 0;
    exceptions.push({
      type: type === 'b' ? 'b' : 'c',
      major: value(major),
      minor: value(minor),
      access: bits,
    });
  }
  return { allowByDefault: false, exceptions };
}

/** A write that changes the kernel's list. */
export interface DeviceWrite {
  readonly file: 'devices.allow' | 'devices.deny';
  readonly value: string;
}

/** The writes that turn one state into another, at most one for what changes. */
export function deviceTransition(from: DeviceState, to: DeviceState): DeviceWrite[] {
  const writes: DeviceWrite[] = [];
  const exceptional = to.allowByDefault ? 'devices.deny' : 'devices.allow';
  const usual = to.allowByDefault ? 'devices.allow' : 'devices.deny';
  // Exceptions to "all allowed" are not shown by devices.list, so that list is always made anew.
  const anew = to.allowByDefault || from.allowByDefault;
  if (anew) writes.push({ file: usual, value: 'a' });
  const before = anew ? [] : from.exceptions;
  const change = (file: DeviceWrite['file'], some: readonly DeviceException[], others: typeof some) => {
    for (const one of some) {
      const access = one.access & ~(others.find((other) => same(one, other))?.access ?? 0);
      if (access !== 0) writes.push({ file, value: printException({ ...one, access }) });
    }
  };
  change(usual, before, to.exceptions);
  change(exceptional, to.exceptions, before);
  return writes;
}

/** By lists that stay as they are: many containers have the same. */
const compiled = new WeakMap<readonly OciDeviceRule[], DeviceState>();

/** Makes a rule list true for a v1 devices cgroup. @throws CgroupDevicesError */
export function setDevicesV1(files: CgroupFiles, rules: readonly OciDeviceRule[]): void {
  const target = compiled.get(rules) ?? compileDeviceState(parseDeviceRules(rules));
  compiled.set(rules, target);
  const list = attempt(files, 'devices.list', '', () => files.read('devices.list'));
  let open: { readonly file: string; readonly writer: FileWriter } | undefined;
  try {
    for (const { file, value } of deviceTransition(parseDevicesList(list), target)) {
      if (open?.file !== file) {
        open?.writer[Symbol.dispose]();
        open = { file, writer: attempt(files, file, value, () => files.writing(file)) };
      }
      const { writer } = open;
      attempt(files, file, value, () => writer.write(value));
    }
  } finally {
    open?.writer[Symbol.dispose]();
  }
}

function attempt<T>(files: CgroupFiles, file: string, value: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    const errno = errnoOf(cause);
    const what = value === '' ? `reading ${files.folder}/${file}` : `${value} to ${files.folder}/${file}`;
    const hint =
      errno === 'EPERM' && file === 'devices.allow'
        ? 'The parent cgroup does not allow this device itself, or this process lacks CAP_SYS_ADMIN.'
        : errno === 'EINVAL' && value === 'a'
          ? 'The default of a devices cgroup with child cgroups cannot be changed any more.'
          : cgroupHint(errno);
    throw new CgroupDevicesError(`cannot set the allowed devices: ${what}: ${errno}`, { hint, cause });
  }
}
