/**
 * Capability arguments (CNI CONVENTIONS.md, "Well-known Capabilities"): what a container asks of its network, in the words of the plugins.
 * A wish that no plugin of the network can fulfil is refused, where CNI itself would forget it silently.
 */
import type { NetworkConfig } from './cni-config.js';
import { NetworkOptionError } from './errors.js';
import type { JsonObject } from './json.js';
import type { PortMapping } from './ports.js';

/** What a container may ask for on one network. */
export interface NetworkWishes {
  readonly ports?: readonly PortMapping[];
  /** Addresses, with or without a prefix length. */
  readonly ips?: readonly string[];
  readonly mac?: string;
  readonly aliases?: readonly string[];
  /** Bits per second and bits. */
  readonly bandwidth?: Readonly<
    Record<'ingressRate' | 'ingressBurst' | 'egressRate' | 'egressBurst', number>
  >;
  readonly dns?: {
    readonly servers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly string[];
  };
}

/** What has no use for a network that does not know it; the engine fulfils these itself. */
const OPTIONAL = ['dns', 'aliases'];

const WHAT: Readonly<Record<string, string>> = {
  portMappings: 'publish ports',
  ips: 'give a container the address it asks for',
  mac: 'give a container the hardware address it asks for',
  bandwidth: 'limit bandwidth',
};

/** The arguments by capability. */
export function capabilityArguments(wishes: NetworkWishes): JsonObject {
  const { ports = [], ips = [], mac, aliases = [], bandwidth, dns } = wishes;
  const portMappings = ports.map(({ hostIp, hostPort, containerPort, protocol }) => ({
    hostPort,
    containerPort,
    protocol,
    ...(hostIp === undefined ? {} : { hostIP: hostIp }),
  }));
  const all = {
    portMappings: portMappings.length > 0 ? portMappings : undefined,
    ips: ips.length > 0 ? ips : undefined,
    mac,
    aliases: aliases.length > 0 ? aliases : undefined,
    bandwidth,
    dns,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** @throws NetworkOptionError for a wish that none of the network's plugins takes */
export function requireCapabilities(config: NetworkConfig, wanted: JsonObject): void {
  const offered = new Set(config.plugins.flatMap(({ capabilities }) => capabilities));
  const missing = Object.keys(wanted).find((name) => !OPTIONAL.includes(name) && !offered.has(name));
  if (missing === undefined) return;
  throw new NetworkOptionError(`the network ${config.name} cannot ${WHAT[missing] ?? `do ${missing}`}`, {
    code: 'NETWORK_CAPABILITY',
    hint: `none of its plugins declares the capability "${missing}"; leave the option out, or use another network`,
  });
}
