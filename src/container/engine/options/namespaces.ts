/**
 * `--pid`, `--ipc`, `--uts`, `--cgroupns`, `--userns` and the pod to entries of linux.namespaces. Private is the default for all but the user
 * namespace. Other containers' namespaces are joined by path.
 */
import type { NetworkMode, NetworkNamespace } from '../../network/mode.js';
import type { NamespaceType } from '../../spec/namespaces.js';
import type { OciIdMapping, OciNamespace } from '../../spec/types.js';
import { OptionError } from '../errors.js';
import type { ContainerOptions } from './options.js';

/** Ids of a container with a user namespace of its own. */
export const USERNS_SIZE = 65_536;
/** Below are the ids of the host's people and services, subordinate ones (/etc/subuid) among them. */
const USERNS_FIRST = 0x2000_0000;
const USERNS_LAST = 0x7000_0000;

export interface NamespaceFacts {
  /** /proc/PID/ns/… of another container that runs. */
  namespacePath(container: string, type: NamespaceType): string;
  /** /proc/PID/ns/… of the pod's pause process; undefined without a pod. */
  podNamespace?(type: NamespaceType): string;
}

function single(
  option: string,
  type: NamespaceType,
  value: string | undefined,
  shares: boolean,
  facts: NamespaceFacts,
): OciNamespace | undefined {
  if (value === 'host') return undefined;
  if (
    value === undefined ||
    value === '' ||
    value === 'private' ||
    (type === 'ipc' && ['shareable', 'none'].includes(value))
  )
    return { type };
  if (shares && value.startsWith('container:')) {
    const container = value.slice('container:'.length);
    if (container === '') throw new OptionError(option, 'container: is followed by a name or id');
    return { type, path: facts.namespacePath(container, type) };
  }
  throw new OptionError(
    option,
    `${JSON.stringify(value)} is not private, host${shares ? ' or container:NAME' : ''}`,
  );
}

/** What a pod's members share. */
const POD_SHARES = ['network', 'ipc', 'uts'] as const satisfies readonly NamespaceType[];

/** The namespaces of config.json. @throws OptionError */
export function containerNamespaces(
  options: Pick<ContainerOptions, 'pid' | 'ipc' | 'uts' | 'cgroupns' | 'userns' | 'pod'>,
  network: NetworkNamespace,
  facts: NamespaceFacts,
): readonly OciNamespace[] {
  const shared = (type: (typeof POD_SHARES)[number], own: OciNamespace | undefined) =>
    options.pod === undefined || facts.podNamespace === undefined
      ? own
      : { type, path: facts.podNamespace(type) };
  const found: readonly (OciNamespace | undefined)[] = [
    isPrivateUserns(options.userns) ? { type: 'user' } : undefined,
    single('--cgroupns', 'cgroup', options.cgroupns, false, facts),
    shared('ipc', single('--ipc', 'ipc', options.ipc, true, facts)),
    shared('uts', single('--uts', 'uts', options.uts, true, facts)),
    shared('network', network),
    single('--pid', 'pid', options.pid, true, facts),
    { type: 'mount' },
  ];
  return found.filter((one) => one !== undefined);
}

/** `--userns private` (also `auto`): a user namespace with ids of its own. @throws OptionError */
export function isPrivateUserns(value: string | undefined): boolean {
  if (value === undefined || value === 'host') return false;
  if (value === 'private' || value === 'auto') return true;
  throw new OptionError('--userns', `${JSON.stringify(value)} is not host or private`);
}

/**
 * The lowest range of ids that no other container has.
 *
 * @param taken first ids of the others' ranges
 * @param ids how many ids a rootless engine has, of which 0 is the user
 * @throws OptionError
 */
export function chooseIdRange(taken: readonly number[], ids?: number): number {
  const used = new Set(taken);
  if (ids !== undefined) return chooseOwnRange(used, ids);
  for (let first = USERNS_FIRST; first < USERNS_LAST; first += USERNS_SIZE)
    if (!used.has(first)) return first;
  throw new OptionError(
    '--userns',
    'every range of ids is in use',
    'remove containers that use --userns private',
  );
}

/** Most users have one range (/etc/subuid): containers then share it, apart from the user's own id. */
function chooseOwnRange(used: ReadonlySet<number>, ids: number): number {
  if (ids <= USERNS_SIZE)
    throw new OptionError(
      '--userns',
      `private needs ${USERNS_SIZE} ids besides the user's own, and there are ${ids - 1}`,
      'give the user more in /etc/subuid and /etc/subgid (usermod --add-subuids)',
    );
  for (let first = 1; first + USERNS_SIZE <= ids; first += USERNS_SIZE) if (!used.has(first)) return first;
  return 1;
}

export function idMappings(first: number): readonly OciIdMapping[] {
  return [{ containerID: 0, hostID: first, size: USERNS_SIZE }];
}

/** Refuses what cannot go together. @throws OptionError */
export function checkNamespaces(
  options: Pick<ContainerOptions, 'pid' | 'ipc' | 'uts' | 'userns' | 'pod' | 'hostname' | 'privileged'>,
  network: NetworkMode,
): void {
  if (options.pod !== undefined) {
    for (const name of ['ipc', 'uts'] as const) {
      if (options[name] !== undefined)
        throw new OptionError(`--${name}`, 'a pod’s members share it: leave it out, or --pod');
    }
    if (options.hostname !== undefined)
      throw new OptionError('--hostname', 'belongs to the pod: give it to tvmm pod create');
  }
  if (!isPrivateUserns(options.userns)) return;
  if (options.privileged)
    throw new OptionError(
      '--privileged',
      'cannot be combined with --userns private',
      'leave one of them out',
    );
  for (const [option, joins] of [
    ['--network', network.kind === 'container'],
    ['--pid', options.pid?.startsWith('container:') === true],
    ['--ipc', options.ipc?.startsWith('container:') === true],
    ['--uts', options.uts?.startsWith('container:') === true],
    ['--pod', options.pod !== undefined],
  ] as const) {
    if (joins)
      throw new OptionError(
        option,
        'another container’s namespace cannot be joined from a user namespace of its own',
      );
  }
}
