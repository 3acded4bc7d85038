/** What results and records of CNI say about a container: its interface with addresses, and the ports of the host that it has. */
import type { StoredAttachment } from './attachment-store.js';
import type { CniResult } from './cni-result.js';
import { formatCidr, formatIp } from './ip.js';
import { type PortOwner, PROTOCOLS } from './ports.js';

/** One interface of a container. */
export interface ContainerInterface {
  readonly network: string;
  readonly name: string;
  readonly mac: string | undefined;
  /** With prefix lengths. */
  readonly addresses: readonly string[];
  readonly gateways: readonly string[];
}

/** The container's own interface out of a result. */
export function interfaceOf(network: string, ifname: string, result: CniResult): ContainerInterface {
  const index = result.interfaces.findIndex(({ name, sandbox }) => name === ifname && sandbox !== undefined);
  const ips = result.ips.filter((ip) => ip.interface === undefined || index < 0 || ip.interface === index);
  return {
    network,
    name: ifname,
    mac: result.interfaces[index]?.mac,
    addresses: ips.map(({ address }) => formatCidr(address)),
    gateways: ips.flatMap(({ gateway }) => (gateway === undefined ? [] : [formatIp(gateway)])),
  };
}

/** The ports that a stored attachment publishes. */
export function portsOf(stored: StoredAttachment): PortOwner['ports'] {
  const list = stored.attachment.capabilities?.portMappings;
  if (!Array.isArray(list)) return [];
  return list.flatMap((one: unknown) => {
    const fields = new Map<string, unknown>(
      typeof one === 'object' && one !== null ? Object.entries(one) : [],
    );
    const hostPort = fields.get('hostPort');
    const hostIp = fields.get('hostIP');
    const protocol = PROTOCOLS.find((name) => name === fields.get('protocol'));
    if (typeof hostPort !== 'number' || protocol === undefined) return [];
    return [{ hostPort, protocol, hostIp: typeof hostIp === 'string' ? hostIp : undefined }];
  });
}
