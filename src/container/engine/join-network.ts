/**
 * `network connect` and `network disconnect`: a container joins one more network, or leaves one, while it runs or before its next start. Its
 * options are changed with it, so that a restart finds the same networks.
 */
import { type NetworkMode, type NetworkRequest, parseNetworkMode } from '../network/mode.js';
import { parsePortSpecs } from '../network/ports.js';
import type { EngineContext } from './context.js';
import { OptionError } from './errors.js';
import { note } from './events.js';
import { refreshPeers } from './peers.js';
import type { ContainerRecord } from './record.js';
import { rootlessFacts } from './rootless.js';
import { settle } from './settle.js';

/** What a container asks of the network, as in `--network NAME:ip=…`. */
export interface JoinRequest {
  readonly network: string;
  /** `ip=…`, `mac=…`, `alias=…`, `interface=…` */
  readonly wishes: readonly string[];
}

const MAX_INTERFACES = 1000;

/** @throws NetworkOptionError, NetworkError, CniPluginError; the container has the networks then that it had before */
export async function joinNetwork(
  context: EngineContext,
  id: string,
  { network, wishes }: JoinRequest,
): Promise<ContainerRecord> {
  return change(context, id, async (record, networks) => {
    const others = networks.map(formatRequest);
    const own = wishes.some((wish) => wish.startsWith('interface='))
      ? wishes
      : [...wishes, `interface=${freeInterface(record, networks)}`];
    const values = [...others, `${network}:${own.join(',')}`];
    // Refuses a network that it is on already, and an interface that it has.
    const mode = parseNetworkMode(values);
    const request = mode.kind === 'networks' ? mode.networks.at(-1) : undefined;
    const all = await context.networks();
    if (request === undefined) throw new OptionError('NETWORK', `${network} cannot be joined`);
    const { init } = record;
    if (init === undefined) {
      await all.store.find(request.name);
      return { ...record, options: { ...record.options, network: values } };
    }
    const published = record.ports.length > 0 ? [] : parsePortSpecs(record.options.publish);
    const result = await all.connect({
      containerId: id,
      netns: `/proc/${init.pid}/ns/net`,
      network: request,
      ports: published,
    });
    return {
      ...record,
      options: { ...record.options, network: values },
      interfaces: [...record.interfaces, ...result.interfaces],
      ports: [...record.ports, ...result.ports],
    };
  }).then((record) => {
    note(context.paths, 'connect', record, { network });
    return record;
  });
}

/** @throws OptionError when it is not on that network, CniPluginError */
export async function leaveNetwork(
  context: EngineContext,
  id: string,
  word: string,
): Promise<ContainerRecord> {
  // `bridge` is another word for the one that is there anyway.
  const asked = parseNetworkMode([word]);
  const network = asked.kind === 'networks' ? asked.networks[0]?.name : undefined;
  if (network === undefined) throw new OptionError('NETWORK', `${word} cannot be left`);
  return change(context, id, async (record, networks) => {
    const kept = networks.filter(({ name }) => name !== network);
    if (kept.length === networks.length)
      throw new OptionError('NETWORK', `container ${record.name} is not on the network ${network}`);
    let { ports } = record;
    if (record.init !== undefined) {
      const left = await (await context.networks()).disconnect(id, network);
      ports = ports.filter(
        (port) => !left.some((one) => one.hostPort === port.hostPort && one.protocol === port.protocol),
      );
    }
    return {
      ...record,
      options: { ...record.options, network: kept.length === 0 ? ['none'] : kept.map(formatRequest) },
      interfaces: record.interfaces.filter((one) => one.network !== network),
      ports,
    };
  }).then((record) => {
    note(context.paths, 'disconnect', record, { network });
    return record;
  });
}

async function change(
  context: EngineContext,
  id: string,
  action: (record: ContainerRecord, networks: readonly NetworkRequest[]) => Promise<ContainerRecord>,
): Promise<ContainerRecord> {
  if (rootlessFacts() !== undefined)
    throw new OptionError(
      'network',
      'without root a container has one network, which is chosen when it is made',
    );
  return context.store.locked(id, async (found) => {
    const record = await settle(context, found);
    const changed = await action(record, networksOf(record));
    context.store.write(changed);
    await refreshPeers(context, [...record.interfaces, ...changed.interfaces], id);
    return changed;
  });
}

/** @throws OptionError for a container whose network is another's */
function networksOf({ name, options }: ContainerRecord): readonly NetworkRequest[] {
  const refuse = (why: string): never => {
    throw new OptionError('network', `container ${name} ${why}`);
  };
  if (options.pod !== undefined) return refuse('has the network of its pod: connect or disconnect the pod');
  const mode: NetworkMode = parseNetworkMode(options.network);
  if (mode.kind === 'none') return [];
  return mode.kind === 'networks'
    ? mode.networks
    : refuse(`has no network of its own: --network ${options.network[0]}`);
}

function freeInterface(record: ContainerRecord, networks: readonly NetworkRequest[]): string {
  const taken = new Set([
    ...networks.map((one) => one.interface),
    ...record.interfaces.map(({ name }) => name),
  ]);
  for (let i = 0; i < MAX_INTERFACES; i++) if (!taken.has(`eth${i}`)) return `eth${i}`;
  throw new OptionError('network', 'there is no free name for an interface');
}

/** What {@link parseNetworkMode} reads: interfaces keep their names, whichever comes or goes before them. */
function formatRequest(request: NetworkRequest): string {
  const { name, ips, mac, aliases } = request;
  const wishes = [
    ...ips.map((ip) => `ip=${ip}`),
    ...(mac === undefined ? [] : [`mac=${mac}`]),
    ...aliases.map((alias) => `alias=${alias}`),
    `interface=${request.interface}`,
  ];
  return `${name}:${wishes.join(',')}`;
}
