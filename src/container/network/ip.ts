/**
 * IP addresses and subnets as text and as numbers (RFC 4291 section 2.2, RFC 4632). Strict: no leading zeros, no zone, no shortened IPv4;
 * what two programs may read differently is refused.
 */
export interface IpAddress {
  readonly family: 4 | 6;
  /** 32 or 128 bits. */
  readonly value: bigint;
}

/** An address with the length of its subnet's prefix: `10.1.2.3/24`. */
export interface Cidr extends IpAddress {
  readonly prefix: number;
}

export const BITS = { 4: 32, 6: 128 } as const;

function parseV4(text: string): bigint | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = (value << 8n) | BigInt(part);
  }
  return value;
}

function parseV6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const groups = halves.map((half) => (half === '' ? [] : half.split(':')));
  const last = groups.at(-1)?.at(-1);
  if (last?.includes('.')) {
    const embedded = parseV4(last);
    if (embedded === undefined) return undefined;
    groups.at(-1)?.splice(-1, 1, (embedded >> 16n).toString(16), (embedded & 0xffffn).toString(16));
  }
  const [head = [], tail = []] = groups;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  let value = 0n;
  for (const group of [...head, ...Array.from({ length: missing }, () => '0'), ...tail]) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    value = (value << 16n) | BigInt(`0x${group}`);
  }
  return value;
}

/** Reads an address; undefined for anything else. */
export function parseIp(text: string): IpAddress | undefined {
  const family = text.includes(':') ? 6 : 4;
  const value = family === 6 ? parseV6(text) : parseV4(text);
  return value === undefined ? undefined : { family, value };
}

/** Reads `ADDRESS/PREFIX`; undefined for anything else. The host part may be set. */
export function parseCidr(text: string): Cidr | undefined {
  const [address = '', prefix = '', ...rest] = text.split('/');
  const ip = parseIp(address);
  if (ip === undefined || rest.length > 0 || !/^(0|[1-9]\d{0,2})$/.test(prefix)) return undefined;
  return Number(prefix) > BITS[ip.family] ? undefined : { ...ip, prefix: Number(prefix) };
}

/** The usual text of an address; of the longest run of zeros in an IPv6 address, `::` (RFC 5952). */
export function formatIp({ family, value }: IpAddress): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.');
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  const runs = [
    ...groups
      .map((group) => (group === '0' ? '0' : 'x'))
      .join('')
      .matchAll(/0{2,}/g),
  ];
  const longest = runs.sort((a, b) => b[0].length - a[0].length)[0];
  if (longest === undefined) return groups.join(':');
  const head = groups.slice(0, longest.index).join(':');
  return `${head}::${groups.slice(longest.index + longest[0].length).join(':')}`;
}

export function formatCidr(cidr: Cidr): string {
  return `${formatIp(cidr)}/${cidr.prefix}`;
}

/** An address of 4 or 16 bytes in network order, as the kernel gives it. */
export function ipFromBytes(bytes: Uint8Array): IpAddress {
  const value = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

/** The subnet that an address is in: its host part cleared. */
export function subnetOf(cidr: Cidr): Cidr {
  const host = BigInt(BITS[cidr.family] - cidr.prefix);
  return { ...cidr, value: (cidr.value >> host) << host };
}

/** Whether two subnets have an address in common. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  if (a.family !== b.family) return false;
  const host = BigInt(BITS[a.family] - Math.min(a.prefix, b.prefix));
  return a.value >> host === b.value >> host;
}

/** Whether `address` is in `subnet`. */
export function contains(subnet: Cidr, address: IpAddress): boolean {
  return overlaps(subnet, { ...address, prefix: BITS[address.family] });
}

/** The `n`th address of a subnet, the 0th being the subnet's own. */
export function addressAt(subnet: Cidr, n: bigint): IpAddress {
  return { family: subnet.family, value: subnetOf(subnet).value + n };
}
