/**
 * Makes what is there what should be there: attachments, namespaces, links, addresses and rules of containers that are gone are removed,
 * whatever crash left them. Runs alone (no ADD or DEL at the same time), goes on after a failure and reports all of them.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { releaseNetns } from '../../sys/netns.js';
import type { StoredAttachment } from './attachment-store.js';
import { removeOrphanPorts } from './bridges.js';
import { removalOf, type Survivors } from './firewall-leftovers.js';
import { parseIp } from './ip.js';
import { feed } from './isolation.js';
import type { Networks } from './networks.js';

/** What was removed. */
export interface GcReport {
  /** Containers whose attachments were undone. */
  readonly detached: readonly string[];
  /** Files of namespaces. */
  readonly namespaces: readonly string[];
  readonly links: readonly string[];
  /** Addresses, as NETWORK/IP. */
  readonly addresses: readonly string[];
  /** Tables of the firewall that had stale rules. */
  readonly tables: readonly string[];
  readonly problems: readonly Error[];
}

/** The commands of both IP versions. */
const FIREWALLS = ['iptables', 'ip6tables'] as const;
const HINT = 'install iptables (Debian: apt-get install iptables)';

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Whether a file was being written by a process that is gone: NAME.PID.tmp. */
function isAbandoned(name: string): boolean {
  const pid = /\.(\d+)\.tmp$/.exec(name)?.[1];
  return pid !== undefined && !existsSync(`/proc/${pid}`);
}

class Collector {
  readonly problems: Error[] = [];

  /** Runs a part; its failure does not keep the others from running. */
  async try<T>(part: () => T | Promise<T>): Promise<T | undefined> {
    try {
      return await part();
    } catch (error) {
      this.problems.push(error instanceof Error ? error : new Error(String(error)));
      return undefined;
    }
  }
}

/**
 * @param listAlive ids of the containers and pods that exist, running or not. Asked when nothing can be attached any more, so a container
 * that is on record before its networks are set up is never taken for a dead one
 */
export async function collectGarbage(
  networks: Networks,
  listAlive: () => ReadonlySet<string>,
): Promise<GcReport> {
  using _lock = await networks.attachments.lock('exclusive');
  const alive = listAlive();
  const collector = new Collector();
  const { store, cni } = networks.attachments;
  const stored = store.all();
  for (const { file, containerId, error } of stored.broken) {
    // Links, addresses and rules without a record are found below.
    if (alive.has(containerId)) collector.problems.push(error);
    else rmSync(file, { force: true });
  }
  const detached = new Set<string>();
  for (const one of stored.attachments) {
    const { containerId } = one.attachment;
    if (alive.has(containerId)) continue;
    await collector.try(async () => {
      await networks.attachments.remove(one);
      detached.add(containerId);
    });
  }
  const left = store.all().attachments;
  const kept = new Set(left.map(({ attachment }) => attachment.containerId));
  const namespaces = entries(networks.netnsFolder).filter((id) => !alive.has(id) && !kept.has(id));
  for (const id of namespaces) await collector.try(() => releaseNetns(join(networks.netnsFolder, id)));
  for (const { config, version } of new Map(left.map((one) => [one.config.name, one])).values()) {
    const valid = left.filter((one) => one.config.name === config.name).map(({ attachment }) => attachment);
    collector.problems.push(...(await cni.gc(config, version, valid)));
  }
  const links =
    (await collector.try(() => removeOrphanPorts(networks.store.definitions(), knownLinks(left)))) ?? [];
  const addresses = (await collector.try(() => removeOrphanAddresses(networks.dataDir, left))) ?? [];
  const tables: string[] = [];
  const survivors = survivorsOf(networks, left);
  for (const command of survivors.networks.length > 0 ? FIREWALLS : []) {
    for (const table of ['nat', 'filter']) {
      await collector.try(async () => {
        const removal = removalOf(table, await feed(command, ['-w', '-t', table, '-S'], '', HINT), survivors);
        if (removal === undefined) return;
        await feed(`${command}-restore`, ['-w', '--noflush'], removal, HINT);
        tables.push(`${command} ${table}`);
      });
    }
  }
  await collector.try(() => networks.sweepLocked());
  for (const folder of [store.folder, networks.store.folder]) {
    for (const name of entries(folder).filter(isAbandoned)) rmSync(join(folder, name), { force: true });
  }
  return { detached: [...detached], namespaces, links, addresses, tables, problems: collector.problems };
}

function knownLinks(left: readonly StoredAttachment[]): Set<string> {
  return new Set(left.flatMap(({ result }) => result?.interfaces.map(({ name }) => name) ?? []));
}

/** Leases of host-local whose container is gone: each file is named for its address and begins with the container's id. */
function removeOrphanAddresses(dataDir: string, left: readonly StoredAttachment[]): string[] {
  const removed: string[] = [];
  for (const network of entries(dataDir)) {
    const folder = join(dataDir, network);
    for (const name of entries(folder).filter((file) => parseIp(file) !== undefined)) {
      const file = join(folder, name);
      const [id = '', ifname] = readFileSync(file, 'utf8').split(/\r?\n/);
      const held = left.some(
        ({ config, attachment }) =>
          config.name === network &&
          attachment.containerId === id &&
          (ifname === undefined || attachment.ifname === ifname),
      );
      if (held) continue;
      rmSync(file, { force: true });
      removed.push(`${network}/${name}`);
    }
  }
  return removed;
}

function survivorsOf(networks: Networks, left: readonly StoredAttachment[]): Survivors {
  const definitions = networks.store.definitions();
  const names = definitions.map(({ name }) => name);
  const ours = left.filter(({ config }) => names.includes(config.name));
  return {
    networks: names,
    subnets: definitions.flatMap(({ subnets }) => subnets),
    containers: left.map(({ attachment }) => attachment.containerId),
    addresses: ours.flatMap(({ result }) => result?.ips.map(({ address }) => address) ?? []),
  };
}
