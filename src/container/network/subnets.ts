/**
 * Which subnet a new network gets: the first of the private ranges (RFC 1918) that meets nothing the host knows: its routes, its addresses,
 * its DNS servers, other networks. IPv6: a unique local prefix with a random global ID (RFC 4193 section 3.2).
 */
import type { NetworkConfig } from './cni-config.js';
import { NetworkError } from './errors.js';
import { addressAt, BITS, type Cidr, overlaps, parseCidr, parseIp, subnetOf } from './ip.js';

/** Some thousand addresses: as many as a bridge has ports (BR_MAX_PORTS, 1024). */
const PREFIX = 22;
/** Ranges to choose from: those first that home routers, clouds, docker and podman use least. */
const RANGES = ['10.214.0.0/16', '10.215.0.0/16', '172.29.0.0/16', '192.168.192.0/18'];

function parse(text: string): Cidr[] {
  const cidr = parseCidr(text);
  return cidr === undefined ? [] : [subnetOf(cidr)];
}

/** All subnets to choose from, in order. */
function* candidates(): Generator<Cidr> {
  for (const range of RANGES.flatMap(parse)) {
    const step = 1n << BigInt(BITS[4] - PREFIX);
    const count = 1n << BigInt(PREFIX - range.prefix);
    for (let i = 0n; i < count; i += 1n) yield { ...addressAt(range, i * step), prefix: PREFIX };
  }
}

/** The first subnet that meets none of `taken`. @throws NetworkError */
export function chooseSubnet(taken: readonly Cidr[]): Cidr {
  for (const candidate of candidates()) {
    if (!taken.some((one) => overlaps(one, candidate))) return candidate;
  }
  throw new NetworkError(`every subnet of ${RANGES.join(', ')} is in use on this host`, {
    code: 'NETWORK_NO_SUBNET',
    hint: 'name one that is free: tvmm network create --subnet',
  });
}

/** A unique local IPv6 subnet. @param random 5 random bytes: the global ID */
export function uniqueLocalSubnet(random: Uint8Array): Cidr {
  const id = random.subarray(0, 5).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return { family: 6, value: (0xfdn << 120n) | (id << 80n), prefix: 64 };
}

/** The subnets that a configuration's plugins name (`subnet` anywhere in their ipam): other runtimes' networks. */
export function subnetsOf(config: NetworkConfig): Cidr[] {
  const found: Cidr[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    else if (typeof value === 'object' && value !== null) {
      for (const [key, inner] of Object.entries(value)) {
        if (key === 'subnet' && typeof inner === 'string') found.push(...parse(inner));
        else visit(inner);
      }
    }
  };
  for (const { raw } of config.plugins) visit(raw.ipam);
  return found;
}

/** Single addresses as subnets of one. */
export function addressesAsSubnets(texts: readonly string[]): Cidr[] {
  return texts.flatMap((text) => {
    const ip = parseIp(text);
    return ip === undefined ? [] : [{ ...ip, prefix: BITS[ip.family] }];
  });
}
