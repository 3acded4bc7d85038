/**
 * Moves links of the host into a container's namespace (OCI runtime specification, config-linux.md "Network Devices"): with their permanent
 * global addresses, up, under the name that is asked for. What has been moved when a later one fails goes back with its addresses. The
 * container's end is the kernel's business: it gives physical devices back.
 */
import { ERRNO } from '../../sys/errno.js';
import { NetlinkError, NetlinkSocket } from '../../sys/netlink.js';
import {
  addAddress,
  changeLink,
  findLink,
  IFA_F_PERMANENT,
  IFF_LOOPBACK,
  IFF_UP,
  type Link,
  type LinkAddress,
  listAddresses,
  listLinks,
  RT_SCOPE_UNIVERSE,
} from '../../sys/netlink-route.js';
import { openNetns } from '../../sys/netns.js';
import { isInterfaceName } from './cni-config.js';
import { NetDeviceError } from './errors.js';

/** linux.netDevices: by the name on the host. */
export type NetDevices = Readonly<Record<string, { readonly name?: string }>>;

const HOST = '/proc/thread-self/ns/net';

/** A device and where it was. */
interface Moved {
  readonly from: Link;
  readonly to: Link;
  readonly addresses: readonly LinkAddress[];
}

function refuse(name: string, problem: string, hint?: string, cause?: unknown): NetDeviceError {
  return new NetDeviceError(`cannot move the network device ${name} into the container: ${problem}`, {
    code: 'NET_DEVICE',
    ...(hint === undefined ? {} : { hint }),
    cause,
  });
}

/** The addresses that go along: permanent ones of global scope. */
function permanentAddresses(netlink: NetlinkSocket, link: Link): LinkAddress[] {
  return listAddresses(netlink).filter(
    ({ index, scope, flags }) =>
      index === link.index && scope === RT_SCOPE_UNIVERSE && (flags & IFA_F_PERMANENT) !== 0,
  );
}

/** Moves a link and gives it as it is on the other side; a name that ends in %d is completed by the kernel there. */
function transfer(from: NetlinkSocket, to: NetlinkSocket, link: Link, name: string, netns: string): Link {
  using target = openNetns(netns);
  const before = new Set(listLinks(to).map(({ index }) => index));
  changeLink(from, link, { netns: target.fd, name });
  const arrived = listLinks(to).find(
    (one) => !before.has(one.index) && (one.name === name || (name.includes('%d') && one.mac === link.mac)),
  );
  if (arrived === undefined) throw refuse(link.name, 'it left, and is not where it was sent');
  return arrived;
}

function restore(netlink: NetlinkSocket, link: Link, addresses: readonly LinkAddress[]): void {
  for (const address of addresses) {
    try {
      addAddress(netlink, link, address);
    } catch (error) {
      // A bridge or a driver may have made it anew by itself.
      if (!(error instanceof NetlinkError) || error.errno !== ERRNO.EEXIST) throw error;
    }
  }
}

function check(host: NetlinkSocket, container: NetlinkSocket, name: string, wanted: string): Link {
  if (!isInterfaceName(name)) throw refuse(JSON.stringify(name), 'that is no name of a device');
  // "%d" is the only template that the kernel knows (dev_alloc_name).
  if (!isInterfaceName(wanted) || /%(?!d$)/.test(wanted)) {
    throw refuse(
      name,
      `${JSON.stringify(wanted)} cannot be its name there`,
      'at most 15 characters; only a %d at the end',
    );
  }
  const link = findLink(host, name);
  if (link === undefined) throw refuse(name, 'the host has no such device', '`ip link` lists them');
  if ((link.flags & IFF_LOOPBACK) !== 0) throw refuse(name, 'the loopback device of a namespace stays in it');
  if (!wanted.includes('%') && findLink(container, wanted) !== undefined) {
    throw refuse(
      name,
      `the container has a device ${wanted} already`,
      'give it another name, or one that ends in %d',
    );
  }
  return link;
}

/**
 * Moves the devices of linux.netDevices, all or none.
 *
 * @param netns path of the container's network namespace
 * @returns the names in the container, by the names on the host
 * @throws NetDeviceError
 */
export function moveNetDevices(netns: string, devices: NetDevices): Map<string, string> {
  using host = NetlinkSocket.open();
  using container = NetlinkSocket.open(netns);
  const moved: Moved[] = [];
  for (const [name, { name: given }] of Object.entries(devices)) {
    try {
      const wanted = given === undefined || given === '' ? name : given;
      const from = check(host, container, name, wanted);
      const addresses = permanentAddresses(host, from);
      const to = transfer(host, container, from, wanted, netns);
      moved.push({ from, to, addresses });
      restore(container, to, addresses);
      changeLink(container, to, { up: true });
    } catch (error) {
      bringBack(host, container, moved);
      if (error instanceof NetDeviceError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw refuse(name, reason, error instanceof NetlinkError ? error.hint : undefined, error);
    }
  }
  return new Map(moved.map(({ from, to }) => [from.name, to.name]));
}

/** Undoes moves, the last first, as well as it goes: the error that led here is the one to tell. */
function bringBack(host: NetlinkSocket, container: NetlinkSocket, moved: readonly Moved[]): void {
  for (const { from, to, addresses } of [...moved].reverse()) {
    try {
      const link = transfer(container, host, to, from.name, HOST);
      restore(host, link, addresses);
      if ((from.flags & IFF_UP) !== 0) changeLink(host, link, { up: true });
    } catch {
      // The namespace ends with the failed container, and gives back what is physical.
    }
  }
}
