/** The bridges of tvmm's networks and their ports, by netlink: what the plugins have no word for, and what they leave behind. */
import { NetlinkSocket } from '../../sys/netlink.js';
import { findLink, isolatePort, listLinks, removeLink } from '../../sys/netlink-route.js';
import type { CniResult } from './cni-result.js';
import type { NetworkDefinition } from './definition.js';

/** The state folder of the usual engine. */
export const DEFAULT_STATE = '/run/tvmm/network';

/**
 * What names of the machine begin with: `tvmm` for the usual engine, for one with a state folder of its own a tag made from its path
 * (FNV-1a), so that two engines do not take each other's bridges and rules.
 */
export function machineTag(stateFolder: string): string {
  if (stateFolder === DEFAULT_STATE) return 'tvmm';
  let hash = 0x811c_9dc5;
  for (const byte of Buffer.from(stateFolder)) hash = Math.imul(hash ^ byte, 0x0100_0193) >>> 0;
  return `tv${hash.toString(36)}x`;
}

/** Sets the ports of a new attachment apart from the others of their bridge. @throws NetlinkError */
export function isolatePorts(result: CniResult): void {
  using netlink = NetlinkSocket.open();
  const bridges = new Set(
    listLinks(netlink)
      .filter(({ kind }) => kind === 'bridge')
      .map(({ index }) => index),
  );
  for (const { name, sandbox } of result.interfaces) {
    if (sandbox !== undefined) continue;
    const link = findLink(netlink, name);
    if (link?.master !== undefined && bridges.has(link.master)) isolatePort(netlink, link, true);
  }
}

/** Removes those bridges that have no ports, and says how many. @throws NetlinkError */
export function removeBridges(definitions: readonly NetworkDefinition[]): number {
  if (definitions.length === 0) return 0;
  using netlink = NetlinkSocket.open();
  const links = listLinks(netlink);
  const idle = links.filter(
    ({ name, kind, index }) =>
      kind === 'bridge' &&
      definitions.some(({ bridge }) => bridge === name) &&
      !links.some(({ master }) => master === index),
  );
  for (const bridge of idle) removeLink(netlink, bridge);
  return idle.length;
}

/** Removes ports of bridges that no attachment has. @returns their names @throws NetlinkError */
export function removeOrphanPorts(
  definitions: readonly NetworkDefinition[],
  known: ReadonlySet<string>,
): string[] {
  using netlink = NetlinkSocket.open();
  const links = listLinks(netlink);
  const names = new Set(definitions.map(({ bridge }) => bridge));
  const bridges = new Set(
    links.filter(({ name, kind }) => kind === 'bridge' && names.has(name)).map(({ index }) => index),
  );
  const orphans = links.filter(
    ({ name, kind, master }) =>
      kind === 'veth' && master !== undefined && bridges.has(master) && !known.has(name),
  );
  for (const link of orphans) removeLink(netlink, link);
  return orphans.map(({ name }) => name);
}
