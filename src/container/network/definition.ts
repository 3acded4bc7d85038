/**
 * Networks that tvmm brings: a bridge with addresses from host-local, published ports and a firewall. The definition is what is stored; the
 * conflist is generated from it whenever it is needed, so that a definition means the same to every version of tvmm.
 */
import type { Cni } from './cni.js';
import {
  CNI_VERSIONS,
  type CniVersion,
  isCniName,
  isInterfaceName,
  type NetworkConfig,
  networkConfigOf,
} from './cni-config.js';
import { lookUpPlugin } from './cni-exec.js';
import { NetworkError } from './errors.js';
import { addressAt, type Cidr, formatCidr, formatIp, parseCidr, subnetOf } from './ip.js';
import {
  asBoolean,
  asInteger,
  asList,
  asObject,
  asString,
  asStrings,
  optional,
  parseJson,
  type Refuse,
  step,
} from './json.js';

export interface NetworkDefinition {
  readonly name: string;
  /** The bridge's link. */
  readonly bridge: string;
  /** One IPv4 subnet, one IPv6 subnet, or both. */
  readonly subnets: readonly Cidr[];
  /** Containers of this network do not reach each other but by published ports. */
  readonly isolate: boolean;
  /** No way out of the network: no default route, no masquerading. */
  readonly internal: boolean;
  /** Undefined: the kernel's 1500. */
  readonly mtu: number | undefined;
  /** Versions of CNI to speak with the plugins. */
  readonly versions: readonly CniVersion[];
}

/** The plugins that such a network needs; host-local is run by bridge. */
const NEEDED = ['bridge', 'host-local', 'portmap', 'firewall'] as const;
/** The smallest MTU that IPv6 works with (RFC 8200 section 5), and the largest of an IP packet. */
const MTU = { low: 1280, high: 65535 };

/** @throws NetworkError that says what to install, where plugins of the default network are missing */
export function requirePlugins(path: readonly string[]): void {
  const missing = NEEDED.filter((type) => lookUpPlugin(type, path) === undefined);
  if (missing.length === 0) return;
  throw new NetworkError(
    `bridge networks need CNI plugins; not in ${path.join(', ')}: ${missing.join(', ')}`,
    {
      code: 'CNI_PLUGIN_MISSING',
      hint: 'install them (Debian: apt-get install containernetworking-plugins iptables), set CNI_PATH, or use --network none or host',
    },
  );
}

/** The versions that all plugins of such a network speak, asked once when the network is made. @throws CniPluginError */
export async function commonVersions(cni: Cni, definition: NetworkDefinition): Promise<CniVersion[]> {
  const config = conflistOf({ ...definition, versions: CNI_VERSIONS }, '/');
  return [await cni.negotiate(config)];
}

/** How to refuse a definition from `source`. */
function refuseDefinition(source: string): Refuse {
  return (pointer, problem) =>
    new NetworkError(`the network definition ${source}${pointer === '' ? '' : ` at ${pointer}`} ${problem}`, {
      code: 'NETWORK_DEFINITION',
      hint: 'remove the file and make the network again',
    });
}

function parseSubnets(value: unknown, at: string, refuse: Refuse): Cidr[] {
  const subnets = asList(value, at, refuse).map((one, i) => {
    const text = asString(one, at + step(i), refuse);
    const cidr = parseCidr(text);
    if (cidr === undefined || subnetOf(cidr).value !== cidr.value)
      throw refuse(at + step(i), `"${text}" is no subnet`);
    const longest = cidr.family === 4 ? 30 : 126;
    if (cidr.prefix > longest || cidr.prefix < 8) {
      throw refuse(at + step(i), `${text} must have a prefix length of 8 to ${longest}`);
    }
    return cidr;
  });
  if (subnets.length === 0) throw refuse(at, 'is empty');
  const families = subnets.map(({ family }) => family);
  if (new Set(families).size !== families.length) throw refuse(at, 'has two subnets of one IP version');
  return subnets;
}

/** Reads a stored definition. @throws NetworkError */
export function parseDefinition(text: string, source: string): NetworkDefinition {
  const refuse = refuseDefinition(source);
  const object = asObject(parseJson(text, refuse), '', refuse);
  const name = asString(object.name, '/name', refuse);
  if (!isCniName(name)) throw refuse('/name', `"${name}" cannot be a network's name`);
  const bridge = asString(object.bridge, '/bridge', refuse);
  if (!isInterfaceName(bridge)) throw refuse('/bridge', `"${bridge}" cannot be a link's name`);
  const named = asStrings(object.versions, '/versions', refuse);
  const versions = CNI_VERSIONS.filter((version) => named.includes(version));
  if (versions.length === 0) throw refuse('/versions', 'names no version that is spoken here');
  return {
    name,
    bridge,
    subnets: parseSubnets(object.subnets, '/subnets', refuse),
    isolate: optional(object, 'isolate', '', refuse, asBoolean) ?? false,
    internal: optional(object, 'internal', '', refuse, asBoolean) ?? false,
    mtu: optional(object, 'mtu', '', refuse, (v, p, r) => asInteger(v, p, r, MTU.low, MTU.high)),
    versions,
  };
}

export function formatDefinition(definition: NetworkDefinition): string {
  const { subnets, ...others } = definition;
  return `${JSON.stringify({ ...others, subnets: subnets.map(formatCidr) }, undefined, 2)}\n`;
}

/** The bridge's own address in a subnet, which is the containers' gateway: the first. */
export function gatewayOf(subnet: Cidr): string {
  return formatIp(addressAt(subnet, 1n));
}

/**
 * The configuration list of a network.
 *
 * @param dataDir where host-local keeps who has which address
 * @param bandwidth whether a container asks for limits: the plugin for them costs time and needs the kernel's tbf
 */
export function conflistOf(definition: NetworkDefinition, dataDir: string, bandwidth = false): NetworkConfig {
  const { name, bridge, subnets, internal, mtu, versions } = definition;
  const list = {
    cniVersion: versions.at(-1),
    cniVersions: versions,
    name,
    loadOnlyInlinedPlugins: true,
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        ipMasq: !internal,
        // A container reaches itself through a port that it publishes.
        hairpinMode: true,
        ...(mtu === undefined ? {} : { mtu }),
        capabilities: { ips: true, mac: true },
        ipam: {
          type: 'host-local',
          dataDir,
          ranges: subnets.map((subnet) => [{ subnet: formatCidr(subnet), gateway: gatewayOf(subnet) }]),
          routes: internal ? [] : subnets.map(({ family }) => ({ dst: family === 4 ? '0.0.0.0/0' : '::/0' })),
        },
      },
      { type: 'portmap', capabilities: { portMappings: true }, snat: true },
      // Lets the network's traffic through where the host's policy is to forward nothing.
      { type: 'firewall', backend: 'iptables' },
      ...(bandwidth ? [{ type: 'bandwidth', capabilities: { bandwidth: true } }] : []),
    ],
  };
  return networkConfigOf(list, refuseDefinition(name));
}
