/**
 * Networks for the engine: sets up what `--network` asks for in a container's namespace and takes it down again. A container on networks has
 * its namespace pinned (`/run/tvmm/netns/ID`), so that its plugins can undo their work after its processes are gone. Everything that
 * is set up is on record before it exists; a failed set-up is taken down whole.
 */
import { join } from 'node:path';
import { FileLock, LockTimeoutError } from '../../sys/file-lock.js';
import { createNetns, netnsIdentity, pinNetns, releaseNetns } from '../../sys/netns.js';
import type { StoredAttachment } from './attachment-store.js';
import { Attachments } from './attachments.js';
import { DEFAULT_STATE, isolatePorts, machineTag, removeBridges } from './bridges.js';
import { capabilityArguments, type NetworkWishes, requireCapabilities } from './capabilities.js';
import { Cni } from './cni.js';
import { isCniName } from './cni-config.js';
import { cniPath, type PluginRun, pluginRunner } from './cni-exec.js';
import type { ResultDns } from './cni-result.js';
import type { NetworkDefinition } from './definition.js';
import { NetworkError, NetworkOptionError } from './errors.js';
import { applyRules, needsRules } from './isolation.js';
import { bringLoopbackUp } from './loopback.js';
import type { NetworkMode, NetworkRequest } from './mode.js';
import { type FoundNetwork, NetworkStore } from './network-store.js';
import { listenerOwners } from './port-owners.js';
import { type PortMapping, type PortOwner, settlePorts } from './ports.js';
import { checkFamilies, publisherOf } from './publishing.js';
import { type ContainerInterface, interfaceOf, portsOf } from './results.js';

const LOCK_TIMEOUT_MS = 120_000;
/** What a sweep may leave to the next one, it leaves when others are at work this long. */
const SWEEP_PATIENCE_MS = 2000;

export interface NetworksOptions {
  /** What is lost at a reboot, as namespaces and links are. Default `/run/tvmm/network`. */
  readonly stateFolder?: string;
  /** Default `/run/tvmm/netns`. */
  readonly netnsFolder?: string;
  /** What stays. Default `/var/lib/tvmm/networks`. */
  readonly definitionFolder?: string;
  /** The administrator's networks. Default `/etc/cni/net.d`. */
  readonly configFolder?: string;
  /** Folders with plugins. Default: CNI_PATH, or the usual ones. */
  readonly cniPath?: readonly string[];
  /** Table of nftables, one for each engine of a machine. Default `tvmm`, or for another state folder one made from its path. */
  readonly table?: string;
  /** Beginning of the bridges' names. Default as `table`. */
  readonly bridgePrefix?: string;
  /** How a container is called in messages: `container web`. */
  readonly describe?: (containerId: string) => string;
  readonly run?: PluginRun;
  /** The variables that plugins see. Default: this process's. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

export interface SetUpRequest {
  readonly containerId: string;
  /** Its network namespace: `/proc/PID/ns/net` of its init, or a pod's file. */
  readonly netns: string;
  readonly mode: NetworkMode;
  readonly ports?: readonly PortMapping[];
  /** Limits of the first network's interface. */
  readonly bandwidth?: NetworkWishes['bandwidth'];
  /** What the container's resolv.conf will say, for plugins that want to know. */
  readonly dns?: NetworkWishes['dns'];
}

export interface NetworkResult {
  /** The pinned namespace; undefined where nothing was set up. */
  readonly netns: string | undefined;
  readonly interfaces: readonly ContainerInterface[];
  /** The published ports, those that were chosen included. */
  readonly ports: readonly PortMapping[];
  /** What the networks say about DNS, for resolvConf(). */
  readonly dns: readonly ResultDns[];
}

export class Networks {
  readonly attachments: Attachments;
  readonly store: NetworkStore;
  readonly stateFolder: string;
  readonly netnsFolder: string;
  readonly #describe: (containerId: string) => string;
  readonly #table: string;

  constructor(options: NetworksOptions = {}) {
    this.stateFolder = options.stateFolder ?? DEFAULT_STATE;
    const tag = machineTag(this.stateFolder);
    this.netnsFolder = options.netnsFolder ?? '/run/tvmm/netns';
    this.#describe = options.describe ?? ((id) => `container ${id}`);
    this.#table = options.table ?? tag;
    const { environment = process.env } = options;
    const path = options.cniPath ?? cniPath(environment);
    const cni = new Cni({ path, run: options.run ?? pluginRunner(environment) });
    this.attachments = new Attachments(cni, this.stateFolder);
    this.store = new NetworkStore(cni, {
      definitions: options.definitionFolder ?? '/var/lib/tvmm/networks',
      cniConfig: options.configFolder ?? '/etc/cni/net.d',
      dataDir: this.dataDir,
      bridgePrefix: options.bridgePrefix ?? tag,
    });
  }

  /** host-local's folder: in the state, because an address outlives its namespace no more than a link does. */
  get dataDir(): string {
    return join(this.stateFolder, 'ipam');
  }

  /** Where a container's namespace is pinned. @throws NetworkError for an id that could leave the folder */
  netnsFile(containerId: string): string {
    if (!isCniName(containerId)) {
      throw new NetworkError(`"${containerId}" cannot name a container`, { code: 'NETWORK_CONTAINER_ID' });
    }
    return join(this.netnsFolder, containerId);
  }

  /** Makes the namespace of a pod, with lo up; {@link tearDown} removes it. @throws SystemError */
  createNamespace(podId: string): string {
    const file = this.netnsFile(podId);
    createNetns(file);
    try {
      bringLoopbackUp(file);
    } catch (error) {
      releaseNetns(file);
      throw error;
    }
    return file;
  }

  /**
   * Sets up a container's networks, whole or not at all. lo is up afterwards in a namespace of its own.
   *
   * @throws NetworkOptionError, NetworkError, PortError, CniPluginError
   */
  async setUp(request: SetUpRequest): Promise<NetworkResult> {
    const { containerId, netns, mode, ports = [], bandwidth } = request;
    const nothing: NetworkResult = { netns: undefined, interfaces: [], ports: [], dns: [] };
    if (mode.kind !== 'networks') {
      if (ports.length > 0) {
        throw new NetworkOptionError(
          `-p publishes ports of a bridge network, and --network is ${mode.kind}`,
          {
            code: 'PORT_WITHOUT_NETWORK',
            hint:
              mode.kind === 'host'
                ? 'its ports are the host’s already: leave out -p'
                : 'leave out -p, or --network',
          },
        );
      }
      if (mode.kind === 'none') bringLoopbackUp(netns);
      return nothing;
    }
    if (process.geteuid?.() !== 0) {
      throw new NetworkError('only root can attach containers to networks', {
        code: 'NETWORK_NOT_ROOT',
        hint: 'use --network none or host, or run tvmm as root',
      });
    }
    // All must exist and fit before anything is changed.
    const found: FoundNetwork[] = [];
    for (const { name } of mode.networks) {
      const one = await this.store.find(name);
      const limited = bandwidth !== undefined && found.length === 0 && one.definition !== undefined;
      found.push(limited ? { ...one, config: this.store.configOf(one.definition, true) } : one);
    }
    checkFamilies(ports, found);
    const file = this.netnsFile(containerId);
    // An earlier life of this container that ended in a crash.
    await this.attachments.detach(containerId);
    this.#pin(netns, file);
    try {
      bringLoopbackUp(file);
      return await this.#attachAll(request, file, mode.networks, found);
    } catch (error) {
      await this.tearDown(containerId).catch(() => undefined);
      // The failed attachment may be off the record already, with its bridge still there.
      await this.sweep().catch(() => undefined);
      throw error;
    }
  }

  /**
   * One more network for a container that runs, whole or not at all. {@link tearDown} takes it down with the others.
   *
   * @param request.ports published by this network, if it can
   * @throws NetworkError, PortError, CniPluginError
   */
  async connect(request: {
    readonly containerId: string;
    readonly netns: string;
    readonly network: NetworkRequest;
    readonly ports: readonly PortMapping[];
  }): Promise<NetworkResult> {
    const { containerId, netns, network } = request;
    const found = await this.store.find(network.name);
    const ports = publisherOf([found]) < 0 ? [] : request.ports;
    checkFamilies(ports, [found]);
    const file = this.netnsFile(containerId);
    // Of a call that was killed half-way.
    await this.#detachFrom(containerId, network.name);
    this.#pin(netns, file);
    try {
      const mode: NetworkMode = { kind: 'networks', networks: [network] };
      return await this.#attachAll({ containerId, netns, mode, ports }, file, [network], [found]);
    } catch (error) {
      await this.#detachFrom(containerId, network.name).catch(() => undefined);
      await this.sweep().catch(() => undefined);
      throw error;
    }
  }

  /** Takes a container that runs from a network. @returns the ports that the network has published @throws CniPluginError */
  async disconnect(containerId: string, network: string): Promise<PortOwner['ports']> {
    const ports = await this.#detachFrom(containerId, network);
    const { attachments } = this.attachments.store.all();
    if (!attachments.some(({ config }) => config.name === network)) await this.sweep();
    return ports;
  }

  async #detachFrom(containerId: string, network: string): Promise<PortOwner['ports']> {
    using _lock = await this.attachments.lock('shared');
    const stored = this.attachments.store.of(containerId).filter(({ config }) => config.name === network);
    for (const one of stored) await this.attachments.remove(one);
    return stored.flatMap(portsOf);
  }

  /** Keeps a container's namespace at `file`, so that plugins can undo their work after its processes are gone. */
  #pin(netns: string, file: string): void {
    if (netnsIdentity(netns) !== undefined && netnsIdentity(netns) === netnsIdentity(file)) return;
    releaseNetns(file);
    pinNetns(netns, file);
  }

  /**
   * Takes down all that {@link setUp} made for a container, and the bridge and rules of a network that nobody uses any more. Harmless when
   * there is nothing; may be repeated after a failure.
   *
   * @throws CniPluginError; what could not be undone stays on record
   */
  async tearDown(containerId: string): Promise<void> {
    const file = this.netnsFile(containerId);
    const networks = this.attachments.store.of(containerId).map(({ config }) => config.name);
    await this.attachments.detach(containerId);
    releaseNetns(file);
    const { attachments } = this.attachments.store.all();
    if (networks.some((name) => !attachments.some(({ config }) => config.name === name))) await this.sweep();
  }

  /** CHECK of all of a container's attachments. @throws CniPluginError, CniCacheError */
  check(containerId: string): Promise<void> {
    const own = new Set(this.store.definitions().map(({ name }) => name));
    // portmap before 1.2 looks for the rules of one IP version in the tables of both, and never finds all.
    return this.attachments.check(containerId, (config) =>
      own.has(config.name)
        ? { ...config, plugins: config.plugins.filter(({ type }) => type !== 'portmap') }
        : config,
    );
  }

  /** STATUS: why a network could not take a container now; empty when it could, or when its plugins cannot say. @throws NetworkError */
  async status(name: string): Promise<Error[]> {
    const { config } = await this.store.find(name);
    return this.attachments.cni.status(config, await this.attachments.cni.negotiate(config));
  }

  /** Removes a network of tvmm's. @throws NetworkError while containers are on it */
  async removeNetwork(name: string): Promise<void> {
    using _lock = await this.attachments.lock('exclusive');
    const users = this.attachments.store
      .all()
      .attachments.filter(({ config }) => config.name === name)
      .map(({ attachment }) => this.#describe(attachment.containerId));
    if (users.length > 0) {
      throw new NetworkError(`the network ${name} is in use by ${users.join(', ')}`, {
        code: 'NETWORK_IN_USE',
        hint: 'remove these containers first',
      });
    }
    const definition = this.store.definitions().find((one) => one.name === name);
    if (definition === undefined) {
      throw new NetworkError(`there is no network ${name} of tvmm's`, { code: 'NETWORK_NOT_FOUND' });
    }
    this.store.remove(name);
    removeBridges([definition]);
  }

  /** The definitions of networks that containers are on, and those of the others. */
  usage(): { used: NetworkDefinition[]; unused: NetworkDefinition[] } {
    const names = new Set(this.attachments.store.all().attachments.map(({ config }) => config.name));
    const all = this.store.definitions();
    return {
      used: all.filter(({ name }) => names.has(name)),
      unused: all.filter(({ name }) => !names.has(name)),
    };
  }

  /** Removes the bridges of networks without containers, and rules that nobody needs. */
  async sweep(): Promise<void> {
    try {
      using _lock = await this.attachments.lock('exclusive', SWEEP_PATIENCE_MS);
      await this.sweepLocked();
    } catch (error) {
      // Whoever is at work there leaves last, and sweeps then.
      if (!(error instanceof LockTimeoutError)) throw error;
    }
  }

  /** The same for a caller that holds the lock, `exclusive`. */
  async sweepLocked(): Promise<void> {
    const { used, unused } = this.usage();
    const removed = removeBridges(unused);
    // With its bridge a network loses its part of the rules; that table is only touched where it may be there.
    if (removed > 0 && needsRules([...used, ...unused])) await applyRules(this.#table, used);
  }

  async #attachAll(
    { containerId, ports = [], bandwidth, dns: resolver }: SetUpRequest,
    netns: string,
    requests: readonly NetworkRequest[],
    found: readonly FoundNetwork[],
  ): Promise<NetworkResult> {
    using _lock = await this.attachments.lock('shared');
    const publisher = publisherOf(found);
    let published: readonly PortMapping[] = [];
    const begun: StoredAttachment[] = [];
    {
      using _ports = await this.#portsLock(ports);
      if (ports.length > 0) published = settlePorts(ports, this.#portOwners());
      for (const [i, { config }] of found.entries()) {
        const request = requests[i];
        if (request === undefined) continue;
        const capabilities = capabilityArguments({
          ips: request.ips,
          aliases: request.aliases,
          ...(request.mac === undefined ? {} : { mac: request.mac }),
          ...(bandwidth === undefined || i > 0 ? {} : { bandwidth }),
          ...(resolver === undefined ? {} : { dns: resolver }),
          // Where no network can publish, the first one says so.
          ports: i === Math.max(publisher, 0) ? published : [],
        });
        requireCapabilities(config, capabilities);
        begun.push(
          await this.attachments.begin(config, {
            containerId,
            netns,
            ifname: request.interface,
            capabilities,
          }),
        );
      }
    }
    const { used } = this.usage();
    // Before the first packet, not after it.
    if (needsRules(used)) await applyRules(this.#table, used);
    const interfaces: ContainerInterface[] = [];
    const dns: ResultDns[] = [];
    for (const [i, stored] of begun.entries()) {
      const result = await this.attachments.finish(stored);
      if (found[i]?.definition?.isolate === true) isolatePorts(result);
      interfaces.push(interfaceOf(stored.config.name, stored.attachment.ifname, result));
      dns.push(result.dns);
    }
    return { netns, interfaces, ports: published, dns };
  }

  /** Keeps two commands from settling on one port; those who publish none do not wait. */
  async #portsLock(ports: readonly PortMapping[]): Promise<FileLock | undefined> {
    if (ports.length === 0) return undefined;
    return FileLock.acquire(join(this.stateFolder, 'ports.lock'), 'exclusive', LOCK_TIMEOUT_MS);
  }

  #portOwners(): PortOwner[] {
    const containers = this.attachments.store.all().attachments.map((stored) => ({
      owner: this.#describe(stored.attachment.containerId),
      ports: portsOf(stored),
    }));
    return [...containers, ...listenerOwners()];
  }
}
