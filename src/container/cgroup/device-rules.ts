/**
 * The allowed device list (config-linux.md, "Allowed Device list") as data, and what it means: entries apply in order, so for each kind of
 * access to a device the last entry that speaks of it decides; what no entry speaks of is denied. devices-v1.ts and devices-bpf.ts
 * make this meaning true, and are tested against {@link isAllowed}.
 */
import { CgroupDevicesError } from './errors.js';
import type { OciDeviceRule } from './resources.js';

/** BPF_DEVCG_ACC_* of <linux/bpf.h>. */
export const MKNOD = 1;
export const READ = 2;
export const WRITE = 4;
export const ALL_ACCESS = MKNOD | READ | WRITE;

export type DeviceType = 'b' | 'c';

/** One entry in full: no type is unset any more (`a` became two), null is "all numbers". */
export interface DeviceRule {
  readonly allow: boolean;
  readonly type: DeviceType;
  readonly major: number | null;
  readonly minor: number | null;
  /** MKNOD | READ | WRITE. */
  readonly access: number;
}

/** Twelve and twenty bits are what the kernel has (include/linux/kdev_t.h). */
const MAX_MAJOR = 2 ** 12 - 1;
const MAX_MINOR = 2 ** 20 - 1;

/** Checks and completes a rule list; `a` becomes a rule for block and one for character devices. @throws CgroupDevicesError */
export function parseDeviceRules(rules: readonly OciDeviceRule[]): DeviceRule[] {
  return rules.flatMap((rule, index) => {
    const where = `linux.resources.devices[${index}]`;
    const { allow, type = 'a' } = rule;
    if (!['a', 'b', 'c'].includes(type))
      throw new CgroupDevicesError(`${where}: type ${JSON.stringify(type)} is none of a, b, c`);
    const complete = {
      allow,
      major: number(rule.major, MAX_MAJOR, `${where}.major`),
      minor: number(rule.minor, MAX_MINOR, `${where}.minor`),
      access: parseAccess(rule.access, where),
    };
    const types: DeviceType[] = type === 'a' ? ['b', 'c'] : [type === 'b' ? 'b' : 'c'];
    return types.map((one) => ({ ...complete, type: one }));
  });
}

function number(value: number | undefined, most: number, where: string): number | null {
  if (value === undefined || value === -1) return null;
  if (!Number.isInteger(value) || value < 0 || value > most)
    throw new CgroupDevicesError(`${where} is ${value}: not a device number (0 to ${most}, or -1 for all)`);
  return value;
}

function parseAccess(access: string | undefined, where: string): number {
  if (access === undefined || access === '') return ALL_ACCESS;
  let bits = 0;
  for (const letter of access) {
    const bit = letter === 'r' ? READ : letter === 'w' ? WRITE : letter === 'm' ? MKNOD : 0;
    if (bit === 0)
      throw new CgroupDevicesError(`${where}.access ${JSON.stringify(access)} is not made of r, w and m`);
    bits |= bit;
  }
  return bits;
}

/** As the kernel prints it: `rwm`. */
export function printAccess(access: number): string {
  return `${access & READ ? 'r' : ''}${access & WRITE ? 'w' : ''}${access & MKNOD ? 'm' : ''}`;
}

/** The meaning of a rule list. */
export function isAllowed(
  rules: readonly DeviceRule[],
  type: DeviceType,
  major: number,
  minor: number,
  access: number,
): boolean {
  const matching = rules.filter(
    (rule) =>
      rule.type === type &&
      (rule.major === null || rule.major === major) &&
      (rule.minor === null || rule.minor === minor),
  );
  return [MKNOD, READ, WRITE]
    .filter((bit) => access & bit)
    .every((bit) => matching.findLast((rule) => rule.access & bit)?.allow === true);
}

const allow = (type: DeviceType, major: number | undefined, minor: number | undefined, access: string) => ({
  allow: true,
  type,
  major,
  minor,
  access,
});

/**
 * What every container may use (config-linux.md, "Default Devices", and mknod without use, which opens nothing): goes behind the rules of
 * config.json, so that a leading "deny all" does not take /dev/null away.
 */
const DEFAULT_DEVICE_RULES: readonly OciDeviceRule[] = [
  allow('c', undefined, undefined, 'm'),
  allow('b', undefined, undefined, 'm'),
  allow('c', 1, 3, 'rwm'), // /dev/null
  allow('c', 1, 5, 'rwm'), // /dev/zero
  allow('c', 1, 7, 'rwm'), // /dev/full
  allow('c', 1, 8, 'rwm'), // /dev/random
  allow('c', 1, 9, 'rwm'), // /dev/urandom
  allow('c', 5, 0, 'rwm'), // /dev/tty
  allow('c', 5, 1, 'rwm'), // /dev/console
  allow('c', 5, 2, 'rwm'), // /dev/ptmx
  allow('c', 136, undefined, 'rwm'), // /dev/pts/*
  allow('c', 10, 200, 'rwm'), // /dev/net/tun: no default device, but VPN images make it themselves, and runc and crun let them
];

/**
 * The list that a container runs with: the rules of config.json, then the default devices. `linux.devices` adds nothing: a node may be
 * there for reading only.
 */
export function containerDeviceRules(rules: readonly OciDeviceRule[] = NO_RULES): readonly OciDeviceRule[] {
  const list = lists.get(rules) ?? [...rules, ...DEFAULT_DEVICE_RULES];
  lists.set(rules, list);
  return list;
}

const NO_RULES: readonly OciDeviceRule[] = [];
/** The same list for the same rules: what is compiled from it can be kept by it. */
const lists = new WeakMap<readonly OciDeviceRule[], readonly OciDeviceRule[]>();
