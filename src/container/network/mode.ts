/**
 * `--network`: none, host, container:ID, ns:PATH, pasta, slirp4netns, or one or more networks with what the container asks of each
 * (`NAME[:ip=…,mac=…,alias=…,interface=…]`). As data for the engine, with the namespace that follows from it. Pure.
 */
import { isCniName, isInterfaceName } from './cni-config.js';
import { NetworkOptionError } from './errors.js';
import { formatCidr, formatIp, parseCidr, parseIp } from './ip.js';

/** The network that tvmm brings. */
export const DEFAULT_NETWORK = 'tvmm';

/** Programs that give a container a network without root. */
export const USER_NETWORKS = ['pasta', 'slirp4netns'] as const;
export type UserNetwork = (typeof USER_NETWORKS)[number];

/** A network that a container joins. */
export interface NetworkRequest {
  readonly name: string;
  readonly interface: string;
  readonly ips: readonly string[];
  readonly mac: string | undefined;
  readonly aliases: readonly string[];
}

export type NetworkMode =
  | { readonly kind: 'none' }
  | { readonly kind: 'host' }
  | { readonly kind: 'container'; readonly id: string }
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'user'; readonly tool: UserNetwork }
  | { readonly kind: 'networks'; readonly networks: readonly NetworkRequest[] };

/** The network namespace of a container, as an entry of linux.namespaces; undefined: the caller's own. */
export type NetworkNamespace = { readonly type: 'network'; readonly path?: string } | undefined;

const MAX_NETWORKS = 16;

function refuse(value: string, problem: string, hint?: string): NetworkOptionError {
  return new NetworkOptionError(`--network ${value}: ${problem}`, {
    code: 'NETWORK_OPTION',
    ...(hint === undefined ? {} : { hint }),
  });
}

function parseRequest(value: string, index: number): NetworkRequest {
  const colon = value.indexOf(':');
  const name = colon < 0 ? value : value.slice(0, colon);
  const wanted = name === 'bridge' || name === 'default' ? DEFAULT_NETWORK : name;
  if (!isCniName(wanted)) {
    throw refuse(
      value,
      `"${name}" is no name of a network`,
      'none, host, container:ID, ns:PATH, or the name of a network',
    );
  }
  let request: NetworkRequest = {
    name: wanted,
    interface: `eth${index}`,
    ips: [],
    mac: undefined,
    aliases: [],
  };
  for (const part of colon < 0 ? [] : value.slice(colon + 1).split(',')) {
    const [key = '', ...rest] = part.split('=');
    const text = rest.join('=');
    if (key === 'ip' || key === 'ip6') {
      const cidr = parseCidr(text);
      const ip = parseIp(text);
      if (cidr === undefined && ip === undefined) throw refuse(value, `"${text}" is no IP address`);
      const canonical = cidr === undefined ? (ip === undefined ? text : formatIp(ip)) : formatCidr(cidr);
      request = { ...request, ips: [...request.ips, canonical] };
    } else if (key === 'mac') {
      if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text))
        throw refuse(value, `"${text}" is no hardware address`);
      // The lowest bit of the first byte marks a group of stations (IEEE 802).
      if ((Number.parseInt(text.slice(0, 2), 16) & 1) === 1)
        throw refuse(value, `${text} is a multicast address`);
      request = { ...request, mac: text.toLowerCase() };
    } else if (key === 'alias') {
      if (!isCniName(text)) throw refuse(value, `"${text}" is no name`);
      request = { ...request, aliases: [...request.aliases, text] };
    } else if (key === 'interface') {
      if (!isInterfaceName(text))
        throw refuse(value, `"${text}" is no name of an interface (1 to 15 characters)`);
      request = { ...request, interface: text };
    } else {
      throw refuse(
        value,
        `"${key}" is no option of a network`,
        'there are ip, ip6, mac, alias and interface',
      );
    }
  }
  return request;
}

function parseAlone(value: string): NetworkMode | undefined {
  if (value === 'none') return { kind: 'none' };
  if (value === 'host') return { kind: 'host' };
  const tool = USER_NETWORKS.find((one) => one === value);
  if (tool !== undefined) return { kind: 'user', tool };
  if (value.startsWith('container:')) {
    const id = value.slice('container:'.length);
    if (!isCniName(id)) throw refuse(value, `"${id}" is no container`);
    return { kind: 'container', id };
  }
  if (value.startsWith('ns:')) {
    const path = value.slice('ns:'.length);
    if (!path.startsWith('/') || path.includes('\0'))
      throw refuse(value, 'the path of a namespace is absolute');
    return { kind: 'path', path };
  }
  return undefined;
}

/** Reads every --network of a container; none given is the default network. @throws NetworkOptionError */
export function parseNetworkMode(values: readonly string[]): NetworkMode {
  if (values.length === 0) return { kind: 'networks', networks: [parseRequest(DEFAULT_NETWORK, 0)] };
  if (values.length > MAX_NETWORKS)
    throw refuse(values.at(-1) ?? '', `a container joins at most ${MAX_NETWORKS} networks`);
  const [first = ''] = values;
  const alone = values.map(parseAlone);
  if (values.length === 1 && alone[0] !== undefined) return alone[0];
  const single = alone.findIndex((mode) => mode !== undefined);
  if (single >= 0) throw refuse(values[single] ?? first, 'cannot be combined with other networks');
  const networks = values.map(parseRequest);
  for (const key of ['name', 'interface'] as const) {
    const seen = new Set<string>();
    for (const network of networks) {
      if (seen.has(network[key])) throw refuse(network.name, `the ${key} ${network[key]} is there twice`);
      seen.add(network[key]);
    }
  }
  return { kind: 'networks', networks };
}
