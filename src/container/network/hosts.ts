/** A container's /etc/hosts and /etc/hostname (hosts(5), hostname(5)). Pure; refuses names that would be more than one word or line. */
import { NetworkOptionError } from './errors.js';
import { formatIp, parseIp } from './ip.js';

/** An address and its names, the full one first. */
export interface HostEntry {
  readonly ip: string;
  readonly names: readonly string[];
}

/** HOST_NAME_MAX (<linux/limits.h>, sethostname(2)). */
const MAX_HOSTNAME = 64;
const LABEL = /^[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?$/;

const LOCAL: readonly HostEntry[] = [
  { ip: '127.0.0.1', names: ['localhost'] },
  { ip: '::1', names: ['localhost', 'ip6-localhost', 'ip6-loopback'] },
  { ip: 'fe00::', names: ['ip6-localnet'] },
  { ip: 'ff00::', names: ['ip6-mcastprefix'] },
  { ip: 'ff02::1', names: ['ip6-allnodes'] },
  { ip: 'ff02::2', names: ['ip6-allrouters'] },
];

/** Whether `name` can be a host's name. */
function isHostname(name: string): boolean {
  return name.length <= 253 && name.split('.').every((label) => LABEL.test(label));
}

/** Checks --hostname. @throws NetworkOptionError */
export function checkHostname(name: string): string {
  if (isHostname(name) && name.length <= MAX_HOSTNAME) return name;
  throw new NetworkOptionError(`--hostname ${JSON.stringify(name)} is no host name`, {
    code: 'HOSTNAME',
    hint: `at most ${MAX_HOSTNAME} letters, digits, "-", "_" and "."`,
  });
}

/**
 * Reads one --add-host, `NAME:IP` or `NAME=IP`; the IP may be in brackets, or `host-gateway` for the host as the container sees it.
 *
 * @throws NetworkOptionError
 */
export function parseAddHost(text: string, gateway: string | undefined): HostEntry {
  const refuse = (problem: string) =>
    new NetworkOptionError(`--add-host ${text}: ${problem}`, { code: 'ADD_HOST', hint: 'write NAME:IP' });
  const match = /^([^:=]+)[:=](.+)$/.exec(text);
  if (match === null) throw refuse('there is no name and address');
  const [, name = '', value = ''] = match;
  if (!isHostname(name)) throw refuse(`"${name}" is no host name`);
  if (value === 'host-gateway') {
    if (gateway === undefined) throw refuse('the container has no gateway: it is on no bridge network');
    return { ip: gateway, names: [name] };
  }
  const ip = parseIp(/^\[(.*)\]$/.exec(value)?.[1] ?? value);
  if (ip === undefined) throw refuse(`"${value}" is no IP address`);
  return { ip: formatIp(ip), names: [name] };
}

/**
 * /etc/hosts of a container with a network namespace of its own.
 *
 * @param addresses its addresses on its networks; none gives its name to 127.0.1.1, as Debian does
 * @param names host name and aliases
 */
export function hostsFile(
  addresses: readonly string[],
  names: readonly string[],
  added: readonly HostEntry[],
): string {
  const own = (addresses.length > 0 ? addresses : ['127.0.1.1']).map((ip) => ({ ip, names }));
  return [...LOCAL, ...(names.length > 0 ? own : []), ...added]
    .map((entry) => `${entry.ip}\t${entry.names.join(' ')}\n`)
    .join('');
}

/** /etc/hosts of a container in the host's network: the host's own with what was added. */
export function hostsFileOfHost(host: string, added: readonly HostEntry[]): string {
  const lines = added.map(({ ip, names }) => `${ip}\t${names.join(' ')}\n`).join('');
  return `${host}${host === '' || host.endsWith('\n') ? '' : '\n'}${lines}`;
}

export function hostnameFile(hostname: string): string {
  return `${hostname}\n`;
}
