/**
 * The networks that exist: tvmm's own definitions in a folder of one file each, and the administrator's CNI configurations, which are read
 * and never written. The default network is made when it is first used.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FileLock } from '../../sys/file-lock.js';
import { NetlinkSocket } from '../../sys/netlink.js';
import { listAddresses, listLinks, listRoutes } from '../../sys/netlink-route.js';
import type { Cni } from './cni.js';
import { isCniName, type NetworkConfig } from './cni-config.js';
import { findPlugin } from './cni-exec.js';
import { type LoadedNetworks, loadNetworks } from './cni-load.js';
import {
  commonVersions,
  conflistOf,
  formatDefinition,
  type NetworkDefinition,
  parseDefinition,
  requirePlugins,
} from './definition.js';
import { hostResolver } from './dns.js';
import { NetworkError } from './errors.js';
import { readHostFile } from './host-files.js';
import { type Cidr, formatCidr, ipFromBytes, overlaps } from './ip.js';
import { readBounded } from './json.js';
import { DEFAULT_NETWORK } from './mode.js';
import { addressesAsSubnets, chooseSubnet, subnetsOf, uniqueLocalSubnet } from './subnets.js';

const MAX_FILE = 1 << 16;
const LOCK_TIMEOUT_MS = 30_000;
/** RT_TABLE_LOCAL: addresses of the host itself, broadcasts. */
const LOCAL_TABLE = 255;
const ETHERNET_MTU = 1500;

/** What to make; what is not given is chosen. */
export interface NetworkOptions {
  readonly name: string;
  readonly subnets?: readonly Cidr[];
  readonly ipv6?: boolean;
  readonly isolate?: boolean;
  readonly internal?: boolean;
  readonly mtu?: number;
}

/** A network by name: its configuration, and its definition where it is one of tvmm's own. */
export interface FoundNetwork {
  readonly config: NetworkConfig;
  readonly definition: NetworkDefinition | undefined;
}

/** What the host's routes, addresses and DNS servers take, and the MTU of its way out. */
function hostNetworks(): { taken: Cidr[]; mtu: number | undefined; links: readonly string[] } {
  using netlink = NetlinkSocket.open();
  const links = listLinks(netlink);
  const routes = listRoutes(netlink);
  const taken = [
    ...listAddresses(netlink).map(({ local, prefix }) => ({ ...ipFromBytes(local), prefix })),
    ...routes
      .filter(({ prefix, table }) => prefix > 0 && table !== LOCAL_TABLE)
      .map(({ destination, prefix }) => ({ ...ipFromBytes(destination), prefix })),
    ...addressesAsSubnets(hostResolver(readHostFile).nameservers),
  ];
  const way = routes.find(
    ({ family, prefix, table }) => family === 4 && prefix === 0 && table !== LOCAL_TABLE,
  )?.link;
  const mtu = links.find(({ index }) => index === way)?.mtu;
  // A tunnel's smaller MTU must hold in containers too; a larger one stops at the first Ethernet.
  return {
    taken,
    mtu: mtu !== undefined && mtu < ETHERNET_MTU ? mtu : undefined,
    links: links.map(({ name }) => name),
  };
}

export class NetworkStore {
  readonly folder: string;
  readonly #cni: Cni;
  readonly #configFolder: string;
  readonly #dataDir: string;
  readonly #bridgePrefix: string;

  /** @param dataDir host-local's folder */
  constructor(
    cni: Cni,
    options: { definitions: string; cniConfig: string; dataDir: string; bridgePrefix: string },
  ) {
    this.#cni = cni;
    this.folder = options.definitions;
    this.#configFolder = options.cniConfig;
    this.#dataDir = options.dataDir;
    this.#bridgePrefix = options.bridgePrefix;
  }

  /** tvmm's own networks, by name. @throws NetworkError for a file that is wrong */
  definitions(): NetworkDefinition[] {
    let names: string[];
    try {
      names = readdirSync(this.folder).filter((name) => name.endsWith('.json'));
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw error;
    }
    return names.sort().map((name) => this.#read(join(this.folder, name)));
  }

  /** The administrator's networks. */
  configured(): LoadedNetworks {
    return loadNetworks(this.#configFolder);
  }

  /** The configuration that a definition stands for. @param bandwidth whether to have a plugin that limits it */
  configOf(definition: NetworkDefinition, bandwidth = false): NetworkConfig {
    return conflistOf(definition, this.#dataDir, bandwidth);
  }

  /** Finds a network; makes the default one where it is missing. @throws NetworkError */
  async find(name: string): Promise<FoundNetwork> {
    const definition = this.definitions().find((one) => one.name === name);
    if (definition !== undefined) {
      requirePlugins(this.#cni.path);
      const usable = await this.#usable(definition);
      return { config: this.configOf(usable), definition: usable };
    }
    const { networks, problems } = this.configured();
    const loaded = networks.find(({ config }) => config.name === name);
    if (loaded !== undefined) {
      // One that is missing would be missing for the DEL as well.
      for (const { type } of loaded.config.plugins) findPlugin(type, this.#cni.path, name);
      return { config: loaded.config, definition: undefined };
    }
    if (name === DEFAULT_NETWORK) {
      const made = await this.create({ name });
      return { config: this.configOf(made), definition: made };
    }
    throw new NetworkError(`there is no network ${name} in ${this.folder} or ${this.#configFolder}`, {
      code: 'NETWORK_NOT_FOUND',
      hint:
        problems[0]?.message ??
        `there are: ${['none', 'host', DEFAULT_NETWORK, ...networks.map(({ config }) => config.name)].join(', ')}`,
    });
  }

  /**
   * Makes a network's definition; its bridge comes with its first container. One that another command has just made by the same name is
   * given back when it is the default one.
   *
   * @throws NetworkError, CniPluginError
   */
  async create(options: NetworkOptions): Promise<NetworkDefinition> {
    if (
      !isCniName(options.name) ||
      ['none', 'host', 'bridge', 'default', 'container', 'ns'].includes(options.name)
    ) {
      throw new NetworkError(`"${options.name}" cannot be the name of a network`, { code: 'NETWORK_NAME' });
    }
    requirePlugins(this.#cni.path);
    using _lock = await FileLock.acquire(join(this.folder, 'lock'), 'exclusive', LOCK_TIMEOUT_MS);
    const existing = this.definitions();
    const same = existing.find(({ name }) => name === options.name);
    if (same !== undefined) {
      if (options.name === DEFAULT_NETWORK && Object.keys(options).length === 1) return same;
      throw new NetworkError(`there is a network ${options.name} already`, {
        code: 'NETWORK_EXISTS',
        hint: `remove it first (tvmm network rm ${options.name}), or choose another name`,
      });
    }
    return this.#write(await this.#settle(options, existing));
  }

  /** Forgets a definition. The caller has seen to it that nobody uses the network. */
  remove(name: string): void {
    if (isCniName(name)) rmSync(join(this.folder, `${name}.json`), { force: true });
  }

  /**
   * A network that nobody is on has no route, so the host may have got one that meets it meanwhile (a laptop in another office). The
   * default network moves out of the way; one that the user made is refused.
   */
  async #usable(definition: NetworkDefinition): Promise<NetworkDefinition> {
    const { links, taken } = hostNetworks();
    if (links.includes(definition.bridge)) return definition;
    const [met] = definition.subnets.flatMap((subnet) => taken.filter((one) => overlaps(one, subnet)));
    // The route may be the network's own, of a bridge that another command has made since the links were listed.
    if (met === undefined || hostNetworks().links.includes(definition.bridge)) return definition;
    if (definition.name !== DEFAULT_NETWORK) {
      throw new NetworkError(
        `the network ${definition.name} has ${definition.subnets.map(formatCidr).join(' and ')}, which meets ${formatCidr(met)} of the host`,
        { code: 'NETWORK_SUBNET_TAKEN', hint: 'make the network again with another subnet' },
      );
    }
    using _lock = await FileLock.acquire(join(this.folder, 'lock'), 'exclusive', LOCK_TIMEOUT_MS);
    const now = this.definitions();
    const current = now.find(({ name }) => name === definition.name);
    // Somebody else has moved it.
    if (current !== undefined && formatDefinition(current) !== formatDefinition(definition)) return current;
    const { name, isolate, internal, subnets } = definition;
    const options = { name, isolate, internal, ipv6: subnets.some(({ family }) => family === 6) };
    return this.#write(
      await this.#settle(
        options,
        now.filter((one) => one.name !== name),
      ),
    );
  }

  #write(definition: NetworkDefinition): NetworkDefinition {
    const file = join(this.folder, `${definition.name}.json`);
    const temporary = `${file}.${process.pid}.tmp`;
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    writeFileSync(temporary, formatDefinition(definition), { mode: 0o600 });
    renameSync(temporary, file);
    return definition;
  }

  async #settle(options: NetworkOptions, existing: readonly NetworkDefinition[]): Promise<NetworkDefinition> {
    const host = hostNetworks();
    const others = [
      ...existing.flatMap(({ subnets }) => subnets),
      ...this.configured().networks.flatMap(({ config }) => subnetsOf(config)),
    ];
    const given = options.subnets ?? [];
    for (const subnet of given) {
      const other = [...others, ...host.taken].find((one) => overlaps(one, subnet));
      if (other === undefined) continue;
      throw new NetworkError(`the subnet ${formatCidr(subnet)} meets ${formatCidr(other)}, which is in use`, {
        code: 'NETWORK_SUBNET_TAKEN',
        hint: 'choose another, or leave it out and tvmm chooses one',
      });
    }
    const subnets = [...given];
    if (!subnets.some(({ family }) => family === 4))
      subnets.unshift(chooseSubnet([...host.taken, ...others]));
    if (options.ipv6 === true && !subnets.some(({ family }) => family === 6)) {
      subnets.push(uniqueLocalSubnet(crypto.getRandomValues(new Uint8Array(5))));
    }
    const bridges = [...existing.map(({ bridge }) => bridge), ...host.links];
    let number = 0;
    while (bridges.includes(`${this.#bridgePrefix}${number}`)) number += 1;
    const definition: NetworkDefinition = {
      name: options.name,
      bridge: `${this.#bridgePrefix}${number}`,
      subnets,
      isolate: options.isolate ?? false,
      internal: options.internal ?? false,
      mtu: options.mtu ?? host.mtu,
      versions: [],
    };
    const settled = { ...definition, versions: await commonVersions(this.#cni, definition) };
    // What the user gave goes through the same checks as what is read back.
    return parseDefinition(formatDefinition(settled), settled.name);
  }

  #read(file: string): NetworkDefinition {
    const refuse = (_: string, problem: string) =>
      new NetworkError(`the network definition ${file} ${problem}`, { code: 'NETWORK_DEFINITION' });
    return parseDefinition(readBounded(file, MAX_FILE, refuse), file);
  }
}
