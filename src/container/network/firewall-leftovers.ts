/**
 * Rules of the firewall that CNI plugins have left behind: chains of containers that are gone (their rules name network and container in a
 * comment) and rules for addresses that nobody has. Reads `iptables -S`, writes what iptables-restore removes. Touches nothing of
 * networks that are not tvmm's, and none of the chains that all CNI networks share. Pure.
 */
import { type Cidr, contains, parseCidr } from './ip.js';

/** Whose rules are meant and who is still there. */
export interface Survivors {
  /** Names of tvmm's networks. */
  readonly networks: readonly string[];
  readonly subnets: readonly Cidr[];
  /** Containers that are attached. */
  readonly containers: readonly string[];
  /** Their addresses. */
  readonly addresses: readonly Cidr[];
}

/** A comment of bridge's masquerading or of portmap's, as -S prints it: `"name: \"tvmm\" id: \"web\""`. */
const COMMENT = /--comment "(?:dnat )?name: \\"([^"\\]+)\\" id: \\"([^"\\]+)\\""/;
/** Chains that belong to one container. */
const OWN_CHAIN = /^CNI-(?:[0-9a-f]{24}|(?:DN|SN)-[0-9a-f]{21})$/;

function isStale(rule: string, survivors: Survivors): boolean {
  const comment = COMMENT.exec(rule);
  if (comment !== null) {
    const [, network = '', container = ''] = comment;
    return survivors.networks.includes(network) && !survivors.containers.includes(container);
  }
  // The firewall plugin's rules carry the address alone.
  const address = /^-A CNI-FORWARD -[sd] (\S+) /.exec(rule)?.[1];
  const cidr = address === undefined ? undefined : parseCidr(address);
  if (cidr === undefined) return false;
  const ours = survivors.subnets.some((subnet) => contains(subnet, cidr));
  return (
    ours && !survivors.addresses.some(({ family, value }) => family === cidr.family && value === cidr.value)
  );
}

/**
 * What to feed to `iptables-restore --noflush` to remove the stale rules of one table; undefined when there are none.
 *
 * @param listing the output of `iptables -t TABLE -S`
 */
export function removalOf(table: string, listing: string, survivors: Survivors): string | undefined {
  const lines = listing.split('\n');
  const stale = lines.filter((line) => line.startsWith('-A ') && isStale(line, survivors));
  if (stale.length === 0) return undefined;
  const chains = new Set<string>();
  for (const rule of stale) {
    for (const chain of [/ -j (\S+)$/.exec(rule)?.[1], /^-A (\S+)/.exec(rule)?.[1]]) {
      if (chain !== undefined && OWN_CHAIN.test(chain)) chains.add(chain);
    }
  }
  const jumps = stale.filter((rule) => !chains.has(/^-A (\S+)/.exec(rule)?.[1] ?? ''));
  const removals = [
    ...jumps.map((rule) => `-D ${rule.slice('-A '.length)}`),
    ...[...chains].map((chain) => `-F ${chain}`),
    ...[...chains].map((chain) => `-X ${chain}`),
  ];
  return [`*${table}`, ...removals, 'COMMIT', ''].join('\n');
}
