/**
 * A container's /etc/resolv.conf (resolv.conf(5)): made from the host's, the network's and the user's. A resolver on the host's loopback
 * (systemd-resolved's stub, dnsmasq) cannot be reached from a container: its upstream file is used, or its lines are left out. Pure.
 */
import type { ResultDns } from './cni-result.js';
import { NetworkOptionError } from './errors.js';
import { formatIp, parseIp } from './ip.js';

/** What resolv.conf says. */
export interface Resolver {
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** `--dns`, `--dns-search`, `--dns-option`. Undefined: not given. */
export interface DnsOptions {
  readonly servers?: readonly string[];
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

export interface ResolvConf {
  readonly content: string;
  /** Sentences for the log: what was left out. */
  readonly warnings: readonly string[];
}

/** Where systemd-resolved writes the servers behind its stub (systemd-resolved.service(8)). */
const UPSTREAM = '/run/systemd/resolve/resolv.conf';
const HOST = '/etc/resolv.conf';
/** glibc takes three (MAXNS); others take more. */
const MAX_LINES = 32;

function isLoopback(server: string): boolean {
  const ip = parseIp(server);
  if (ip === undefined) return false;
  return ip.family === 4 ? ip.value >> 24n === 127n : ip.value === 1n;
}

/** Reads resolv.conf as the C library does: what it does not know it passes over; of `search` and `domain` the last counts. */
export function parseResolvConf(text: string): Resolver {
  const nameservers: string[] = [];
  const options: string[] = [];
  let search: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    if (keyword === 'nameserver' && words[0] !== undefined) nameservers.push(words[0]);
    else if (keyword === 'search' || keyword === 'domain') search = words;
    else if (keyword === 'options') options.push(...words);
  }
  return { nameservers, search, options };
}

/** The host's resolver as a container can use it. @param read gives a file's text, undefined where it is missing */
export function hostResolver(read: (path: string) => string | undefined): Resolver {
  const host = parseResolvConf(read(HOST) ?? '');
  if (host.nameservers.length === 0 || !host.nameservers.every(isLoopback)) return host;
  const upstream = read(UPSTREAM);
  return upstream === undefined ? host : parseResolvConf(upstream);
}

function checkWord(word: string, option: string): string {
  if (!/^[\x21-\x7e]{1,255}$/.test(word)) {
    throw new NetworkOptionError(`${option} ${JSON.stringify(word)} must be one word`, {
      code: 'DNS_OPTION',
    });
  }
  return word;
}

/** Checks what the user gave. @throws NetworkOptionError */
function checkDnsOptions(options: DnsOptions): DnsOptions {
  const servers = options.servers?.map((text) => {
    const ip = parseIp(text);
    if (ip === undefined) {
      throw new NetworkOptionError(`--dns ${JSON.stringify(text)} is no IP address`, { code: 'DNS_OPTION' });
    }
    return formatIp(ip);
  });
  return {
    ...(servers === undefined ? {} : { servers }),
    ...(options.search === undefined
      ? {}
      : { search: options.search.map((word) => checkWord(word, '--dns-search')) }),
    ...(options.options === undefined
      ? {}
      : { options: options.options.map((word) => checkWord(word, '--dns-option')) }),
  };
}

function render({ nameservers, search, options }: Resolver): string {
  const lines = [
    ...(search.length > 0 ? [`search ${search.join(' ')}`] : []),
    ...nameservers.slice(0, MAX_LINES).map((server) => `nameserver ${server}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/**
 * The container's resolv.conf: the user's word first, then the networks', then the host's.
 *
 * @param ownNetwork whether the container has a network namespace of its own; in the host's, loopback servers work
 * @throws NetworkOptionError
 */
export function resolvConf(
  host: Resolver,
  networks: readonly ResultDns[],
  given: DnsOptions,
  ownNetwork: boolean,
): ResolvConf {
  const user = checkDnsOptions(given);
  const warnings: string[] = [];
  const offered = networks.flatMap(({ nameservers }) => nameservers);
  let nameservers = user.servers ?? (offered.length > 0 ? offered : undefined);
  if (nameservers === undefined) {
    // A zone (fe80::1%eth0) names a link of the host's.
    const usable = host.nameservers.filter(
      (server) => !ownNetwork || !(isLoopback(server) || server.includes('%')),
    );
    if (usable.length === 0 && host.nameservers.length > 0) {
      warnings.push(
        `none of the host's DNS servers (${host.nameservers.join(', ')}) can be reached from the container; give one with --dns`,
      );
    }
    nameservers = usable;
  }
  const offeredSearch = networks.flatMap(({ search, domain }) =>
    search.length > 0 ? search : (domain ?? []),
  );
  // `--dns-search .` means none, as docker has it.
  const search = (user.search ?? (offeredSearch.length > 0 ? offeredSearch : host.search)).filter(
    (one) => one !== '.',
  );
  const offeredOptions = networks.flatMap(({ options }) => options);
  const options = user.options ?? (offeredOptions.length > 0 ? offeredOptions : host.options);
  return {
    content: render({ nameservers: [...new Set(nameservers)], search: [...new Set(search)], options }),
    warnings,
  };
}
