/** `--device HOST[:CONTAINER][:rwm]`, and all devices of the host for `--privileged`. */
import type { OciDeviceRule } from '../../cgroup/resources.js';
import type { OciDevice } from '../../spec/types.js';
import { OptionError } from '../errors.js';

/** A device node of the host. */
export interface HostDevice {
  readonly path: string;
  readonly type: 'c' | 'b';
  readonly major: number;
  readonly minor: number;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface DeviceFacts {
  device(path: string): HostDevice | undefined;
  /** All below /dev, for --privileged. */
  allDevices(): readonly HostDevice[];
}

export interface ContainerDevices {
  readonly nodes: readonly OciDevice[];
  readonly rules: readonly OciDeviceRule[];
}

function node({ type, major, minor, mode, uid, gid }: HostDevice, path: string): OciDevice {
  return { type, path, major, minor, fileMode: mode, uid, gid };
}

/** @throws OptionError for what is no device of this host */
export function containerDevices(
  values: readonly string[],
  privileged: boolean,
  facts: DeviceFacts,
): ContainerDevices {
  const nodes = privileged ? facts.allDevices().map((one) => node(one, one.path)) : [];
  const rules: OciDeviceRule[] = [];
  for (const value of values) {
    const parts = value.split(':');
    const [from = ''] = parts;
    const last = parts.at(-1) ?? '';
    const hasAccess = parts.length > 1 && /^[rwm]{1,3}$/.test(last);
    const access = hasAccess ? last : 'rwm';
    const to = parts.length > (hasAccess ? 2 : 1) ? (parts[1] ?? from) : from;
    if (
      parts.length > 3 ||
      !to.startsWith('/') ||
      to.split('/').includes('..') ||
      (parts.length === 3 && !hasAccess)
    )
      throw new OptionError('--device', `${JSON.stringify(value)} is not HOST[:CONTAINER][:rwm]`);
    const found = facts.device(from);
    if (found === undefined) throw new OptionError('--device', `${from} is no device of this host`);
    nodes.push(node(found, to));
    rules.push({ allow: true, type: found.type, major: found.major, minor: found.minor, access });
  }
  return {
    nodes: nodes.filter(({ path }, i) => nodes.findLastIndex((one) => one.path === path) === i),
    rules,
  };
}
