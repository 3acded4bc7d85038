/**
 * Published ports: `[IP:][HOSTPORT[-END]:]CONTAINERPORT[-END][/PROTOCOL]`, as docker's -p. Strict: a range that does not fit the other, a port
 * that is named twice and an address that is none are refused. Pure; port-owners.ts looks at the host.
 */
import { NetworkOptionError, PortError } from './errors.js';
import { formatIp, type IpAddress, parseIp } from './ip.js';

export type Protocol = 'tcp' | 'udp' | 'sctp';
export const PROTOCOLS: readonly Protocol[] = ['tcp', 'udp', 'sctp'];

/** One published port. */
export interface PortMapping {
  /** Address of the host; undefined for all. */
  readonly hostIp: string | undefined;
  /** 0 where the engine chooses. */
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: Protocol;
}

/** Ports somebody has. */
export interface PortOwner {
  /** Completes "port 80/tcp is taken by …". */
  readonly owner: string;
  readonly ports: readonly Pick<PortMapping, 'hostIp' | 'hostPort' | 'protocol'>[];
}

const MAX_MAPPINGS = 4096;
const EXAMPLE = 'write [IP:][HOSTPORT:]CONTAINERPORT[/tcp|udp|sctp], for instance 127.0.0.1:8080:80';

function refuse(text: string, problem: string): NetworkOptionError {
  return new NetworkOptionError(`-p ${text}: ${problem}`, { code: 'PORT_SYNTAX', hint: EXAMPLE });
}

function parseRange(text: string, range: string): { first: number; count: number } {
  const match = /^([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?$/.exec(range);
  if (match === null) throw refuse(text, `"${range}" is no port or range of ports`);
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  if (first > 65535 || last > 65535) throw refuse(text, `ports end at 65535, "${range}" goes beyond`);
  if (last < first) throw refuse(text, `the range "${range}" runs backwards`);
  return { first, count: last - first + 1 };
}

function splitAddress(text: string, spec: string): { ip: string | undefined; rest: string } {
  const bracket = /^\[([^\]]*)\]:(.*)$/.exec(spec);
  if (bracket !== null) return { ip: bracket[1] ?? '', rest: bracket[2] ?? '' };
  const parts = spec.split(':');
  if (parts.length > 3) throw refuse(text, 'has too many colons; an IPv6 address stands in brackets');
  return parts.length === 3
    ? { ip: parts[0] ?? '', rest: parts.slice(1).join(':') }
    : { ip: undefined, rest: spec };
}

/** Reads one -p. @throws NetworkOptionError */
export function parsePortSpec(text: string): PortMapping[] {
  const [spec = '', protocolText = 'tcp', ...more] = text.split('/');
  const protocol = PROTOCOLS.find((one) => one === protocolText);
  if (more.length > 0 || protocol === undefined) {
    throw refuse(
      text,
      `"${[protocolText, ...more].join('/')}" is no protocol; there are ${PROTOCOLS.join(', ')}`,
    );
  }
  const { ip, rest } = splitAddress(text, spec);
  const address = ip === undefined || ip === '' ? undefined : parseIp(ip);
  if (ip !== undefined && ip !== '' && address === undefined) throw refuse(text, `"${ip}" is no IP address`);
  const halves = rest.split(':');
  if (halves.length > 2) throw refuse(text, 'has too many colons');
  const container = parseRange(text, halves.at(-1) ?? '');
  const hostText = halves.length === 2 ? (halves[0] ?? '') : '';
  if (halves.length === 2 && hostText === '' && ip === undefined)
    throw refuse(text, 'there is no port before the colon');
  const host = hostText === '' ? undefined : parseRange(text, hostText);
  if (host !== undefined && host.count !== container.count) {
    throw refuse(text, `${host.count} ports of the host cannot be ${container.count} of the container`);
  }
  return Array.from({ length: container.count }, (_, i) => ({
    hostIp: address === undefined ? undefined : formatIp(address),
    hostPort: host === undefined ? 0 : host.first + i,
    containerPort: container.first + i,
    protocol,
  }));
}

/** Reads all -p of a container. @throws NetworkOptionError for one that is wrong, PortError for a port that is named twice */
export function parsePortSpecs(specs: readonly string[]): PortMapping[] {
  const mappings: PortMapping[] = [];
  const takenFor = new Map<string, PortMapping[]>();
  for (const spec of specs) {
    for (const mapping of parsePortSpec(spec)) {
      const key = `${mapping.hostPort}/${mapping.protocol}`;
      const others = takenFor.get(key) ?? [];
      if (mapping.hostPort !== 0 && others.some((other) => addressesMeet(other.hostIp, mapping.hostIp))) {
        throw new PortError(`-p names port ${key} of the host twice`, { code: 'PORT_TWICE' });
      }
      takenFor.set(key, [...others, mapping]);
      mappings.push(mapping);
      if (mappings.length > MAX_MAPPINGS) {
        throw new PortError(`more than ${MAX_MAPPINGS} published ports`, {
          code: 'PORT_COUNT',
          hint: 'each is a rule of the firewall; use --network host for that many',
        });
      }
    }
  }
  return mappings;
}

/** `127.0.0.1:8080->80/tcp`, as ps shows it. */
export function formatPort({ hostIp, hostPort, containerPort, protocol }: PortMapping): string {
  const ip = hostIp === undefined ? '0.0.0.0' : hostIp.includes(':') ? `[${hostIp}]` : hostIp;
  return `${ip}:${hostPort}->${containerPort}/${protocol}`;
}

function isAny(ip: IpAddress | undefined): boolean {
  return ip === undefined || ip.value === 0n;
}

/** Whether a packet may be for both: one of them is for all addresses, or they are the same. */
export function addressesMeet(a: string | undefined, b: string | undefined): boolean {
  const [one, two] = [a, b].map((text) => (text === undefined ? undefined : parseIp(text)));
  if (one !== undefined && two !== undefined && one.family !== two.family) {
    // A socket on :: takes IPv4 as well.
    return (one.family === 6 && isAny(one)) || (two.family === 6 && isAny(two));
  }
  return isAny(one) || isAny(two) || one?.value === two?.value;
}

/** The owner of a port that `wanted` would take. */
function findOwner(wanted: PortMapping, owners: readonly PortOwner[]): PortOwner | undefined {
  return owners.find(({ ports }) =>
    ports.some(
      (port) =>
        port.hostPort === wanted.hostPort &&
        port.protocol === wanted.protocol &&
        addressesMeet(port.hostIp, wanted.hostIp),
    ),
  );
}

/** The error for a port that is taken. */
function portTaken({ hostIp, hostPort, protocol }: PortMapping, owner: string): PortError {
  const where = hostIp === undefined ? '' : ` of ${hostIp}`;
  return new PortError(`port ${hostPort}/${protocol}${where} is taken by ${owner}`, {
    code: 'PORT_TAKEN',
    hint: 'publish another port of the host, or leave it out (-p CONTAINERPORT) and tvmm chooses a free one',
  });
}

/** Ports that the engine chooses from: where Linux by default takes its own short-lived ones. */
const CHOICE = { first: 32768, last: 60999 };

/**
 * Gives every port that the engine is to choose a free one, and refuses those that are taken.
 *
 * @param owners who has which ports, the host's listeners included
 * @param random a number of 0 up to 1
 * @throws PortError
 */
export function settlePorts(
  wanted: readonly PortMapping[],
  owners: readonly PortOwner[],
  random: () => number = Math.random,
): PortMapping[] {
  const settled: PortMapping[] = [];
  const own: PortOwner = { owner: 'this container', ports: settled };
  const fixed = wanted.filter(({ hostPort }) => hostPort !== 0);
  for (const mapping of fixed) {
    const found = findOwner(mapping, owners);
    if (found !== undefined) throw portTaken(mapping, found.owner);
  }
  const everybody = [...owners, { owner: 'this container', ports: fixed }, own];
  const size = CHOICE.last - CHOICE.first + 1;
  for (const mapping of wanted) {
    if (mapping.hostPort !== 0) {
      settled.push(mapping);
      continue;
    }
    const start = Math.floor(random() * size);
    const candidates = Array.from({ length: size }, (_, i) => ({
      ...mapping,
      hostPort: CHOICE.first + ((start + i) % size),
    }));
    const free = candidates.find((one) => findOwner(one, everybody) === undefined);
    if (free === undefined) {
      throw new PortError(`no port of ${CHOICE.first} to ${CHOICE.last} is free`, { code: 'PORT_NONE_FREE' });
    }
    settled.push(free);
  }
  return settled;
}
