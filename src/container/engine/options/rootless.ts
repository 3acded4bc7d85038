/**
 * Where a container's limits and its network come from: with root from cgroups of its own and the engine's networks, without root from what
 * is delegated to the user and from a program that passes packets on. What is asked for and cannot be had is refused, defaults are left out.
 */
import type { OciDeviceRule, OciResources } from '../../cgroup/resources.js';
import { NetworkOptionError } from '../../network/errors.js';
import { DEFAULT_NETWORK, type NetworkMode, parseNetworkMode } from '../../network/mode.js';
import { OptionError } from '../errors.js';
import type { RootlessFacts } from '../rootless.js';
import { USER_NETWORK_HINT } from '../user-tools.js';
import type { DeviceFacts } from './devices.js';
import type { ContainerOptions } from './options.js';
import { containerResources } from './resources.js';

export type RootlessLimits = Pick<RootlessFacts, 'cgroup' | 'networks' | 'ids'>;

/** @throws NetworkOptionError for a network that this user cannot have */
export function modeOf(
  { network }: Pick<ContainerOptions, 'network'>,
  rootless: RootlessLimits | undefined,
): NetworkMode {
  const mode = parseNetworkMode(network);
  if (rootless === undefined) {
    if (mode.kind !== 'user') return mode;
    throw new NetworkOptionError(`--network ${mode.tool}: is for users without root`, {
      code: 'NETWORK_OPTION',
      hint: 'leave it out: root has networks of the host',
    });
  }
  const [first] = rootless.networks;
  if (mode.kind === 'user') {
    if (rootless.networks.some(({ kind }) => kind === mode.tool)) return mode;
    throw new NetworkOptionError(`--network ${mode.tool}: ${mode.tool} is not installed`, {
      code: 'NETWORK_OPTION',
      hint: USER_NETWORK_HINT,
    });
  }
  if (mode.kind !== 'networks') return mode;
  const named = mode.networks.find(({ name }) => name !== DEFAULT_NETWORK);
  if (named !== undefined || mode.networks.length > 1)
    throw new NetworkOptionError(
      `--network ${named?.name ?? DEFAULT_NETWORK}: networks of the host need root`,
      {
        code: 'NETWORK_OPTION',
        hint: 'leave it out for a network of the user’s own, or use none, host or container:NAME',
      },
    );
  if (first !== undefined) return { kind: 'user', tool: first.kind };
  if (network.length === 0) return { kind: 'none' };
  throw new NetworkOptionError('--network: there is no program that gives a network without root', {
    code: 'NETWORK_OPTION',
    hint: USER_NETWORK_HINT,
  });
}

const CONTROLLERS: Readonly<
  Partial<Record<keyof OciResources, readonly [controller: string, option: string]>>
> = {
  memory: ['memory', '--memory'],
  cpu: ['cpu', '--cpus'],
  pids: ['pids', '--pids-limit'],
  blockIO: ['io', '--blkio-weight'],
};

/** `--cgroup-parent`: a folder below which the container's cgroup is made, and which stays. */
function cgroupPath(parent: string | undefined, id: string): string {
  if (parent === undefined) return `/tvmm-${id}`;
  const parts = parent.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length === 0 || parts.includes('..') || parent.includes('\0'))
    throw new OptionError('--cgroup-parent', `${JSON.stringify(parent)} is no path of a cgroup`);
  if (parts.at(-1)?.endsWith('.slice') === true)
    throw new OptionError(
      '--cgroup-parent',
      'slices belong to systemd, whose cgroups this engine leaves alone',
      'name another cgroup, for instance --cgroup-parent /tenants',
    );
  return `/${parts.join('/')}/tvmm-${id}`;
}

/** cgroupsPath and resources of config.json. @throws OptionError for a limit that nobody would enforce */
export function placeOf(
  options: ContainerOptions,
  facts: DeviceFacts & { readonly id: string; readonly rootless?: RootlessLimits | undefined },
  devices: readonly OciDeviceRule[],
): { cgroupsPath?: string; resources?: OciResources } {
  const { id, rootless } = facts;
  const resources = containerResources(options, devices, facts);
  if (rootless === undefined) return { cgroupsPath: cgroupPath(options.cgroupParent, id), resources };
  const { cgroup } = rootless;
  const defaults: readonly string[] = [
    ...(options.pidsLimit === undefined ? ['pids'] : []),
    ...(options.deviceCgroupRule.length === 0 ? ['devices'] : []),
  ];
  const granted: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(resources)) {
    const [controller, option] = CONTROLLERS[name as keyof OciResources] ?? [];
    const has = controller === undefined ? cgroup !== undefined : cgroup?.controllers.includes(controller);
    if (has === true) granted[name] = value;
    else if (!defaults.includes(name))
      throw new OptionError(
        option ?? '--device-cgroup-rule',
        cgroup === undefined
          ? 'this user has no cgroup of its own, so nobody would enforce the limit'
          : `the user's cgroup has no ${controller} controller`,
        'run it in a delegated cgroup (version 2): systemd-run --user --scope -p Delegate=yes …, or as root',
      );
  }
  if (options.cgroupParent !== undefined)
    return { cgroupsPath: cgroupPath(options.cgroupParent, id), resources: granted };
  if (cgroup === undefined) return {};
  return { cgroupsPath: `${cgroup.path === '/' ? '' : cgroup.path}/tvmm-${id}`, resources: granted };
}
