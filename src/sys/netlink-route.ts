/**
 * Links, addresses and routes over rtnetlink (rtnetlink(7), <linux/rtnetlink.h>, <linux/if_link.h>): what networks of containers need,
 * and no more. Addresses are bytes in network order. Answers are checked; what this file does not know it passes over.
 */
import { ERRNO } from './errno.js';
import { NetlinkError, type NetlinkSocket } from './netlink.js';
import {
  attribute,
  NetlinkFormatError,
  NLM_F,
  nested,
  parseAttributes,
  readString,
  readU32,
  stringAttribute,
  u8Attribute,
  u32Attribute,
  viewOf,
} from './netlink-wire.js';

const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  SETLINK: 19,
  NEWADDR: 20,
  GETADDR: 22,
  GETROUTE: 26,
} as const;
const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  MASTER: 10,
  PROTINFO: 12,
  LINKINFO: 18,
  NET_NS_FD: 28,
} as const;
const IFLA_INFO_KIND = 1;
/** <linux/if_link.h>: a port that is isolated exchanges frames with ports that are not, and with the bridge itself. Linux 4.18. */
const IFLA_BRPORT_ISOLATED = 33;
const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4, FLAGS: 8, RT_PRIORITY: 9 } as const;
const RTA = { DST: 1, OIF: 4, TABLE: 15 } as const;
export const IFF_UP = 1;
export const IFF_LOOPBACK = 8;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_BRIDGE = 7;
/** Set by the kernel: the address has no lifetime. */
export const IFA_F_PERMANENT = 0x80;
/** No duplicate address detection: an address that has moved is nobody else's. */
const IFA_F_NODAD = 0x02;
export const RT_SCOPE_UNIVERSE = 0;

const LINK_BYTES = 16;
const ADDRESS_BYTES = 8;
const ROUTE_BYTES = 12;

export interface Link {
  readonly index: number;
  readonly name: string;
  /** IFF_UP and the like. */
  readonly flags: number;
  readonly mtu: number | undefined;
  /** Hardware address, bytes joined by colons; empty where there is none. */
  readonly mac: string;
  /** Index of the bridge or bond that it is a port of. */
  readonly master: number | undefined;
  /** `veth`, `bridge`; undefined for a physical device. */
  readonly kind: string | undefined;
}

export interface LinkAddress {
  readonly index: number;
  readonly family: 4 | 6;
  readonly prefix: number;
  readonly scope: number;
  readonly flags: number;
  /** Its own address; differs from `peer` on point-to-point links alone. */
  readonly local: Uint8Array;
  readonly peer: Uint8Array;
  readonly broadcast: Uint8Array | undefined;
  readonly metric: number | undefined;
}

export interface Route {
  readonly family: 4 | 6;
  readonly table: number;
  /** Empty for a default route. */
  readonly destination: Uint8Array;
  readonly prefix: number;
  /** Index of the link that it leaves by. */
  readonly link: number | undefined;
}

function linkHeader(family: number, index: number, flags = 0, change = 0): Uint8Array {
  const bytes = new Uint8Array(LINK_BYTES);
  const view = viewOf(bytes);
  view.setUint8(0, family);
  view.setInt32(4, index, true);
  view.setUint32(8, flags, true);
  view.setUint32(12, change, true);
  return bytes;
}

function family(value: number): 4 | 6 | undefined {
  return value === AF_INET ? 4 : value === AF_INET6 ? 6 : undefined;
}

/** Takes the payload of an RTM_NEWLINK apart. @throws NetlinkFormatError */
export function parseLink(payload: Uint8Array): Link {
  const attributes = parseAttributes(payload, LINK_BYTES);
  const view = viewOf(payload);
  const name = attributes.get(IFLA.IFNAME);
  if (name === undefined) throw new NetlinkFormatError('a link without a name');
  const info = attributes.get(IFLA.LINKINFO);
  const kind = info === undefined ? undefined : parseAttributes(info).get(IFLA_INFO_KIND);
  return {
    index: view.getInt32(4, true),
    flags: view.getUint32(8, true),
    name: readString(name),
    mtu: readU32(attributes.get(IFLA.MTU)),
    mac: [...(attributes.get(IFLA.ADDRESS) ?? [])]
      .map((byte) => byte.toString(16).padStart(2, '0'))
      .join(':'),
    master: readU32(attributes.get(IFLA.MASTER)),
    kind: kind === undefined ? undefined : readString(kind),
  };
}

/** Takes the payload of an RTM_NEWADDR apart; undefined for a family that is not IP. @throws NetlinkFormatError */
export function parseAddress(payload: Uint8Array): LinkAddress | undefined {
  const attributes = parseAttributes(payload, ADDRESS_BYTES);
  const view = viewOf(payload);
  const version = family(view.getUint8(0));
  if (version === undefined) return undefined;
  const peer = attributes.get(IFA.ADDRESS) ?? attributes.get(IFA.LOCAL);
  const bytes = version === 4 ? 4 : 16;
  if (peer?.length !== bytes)
    throw new NetlinkFormatError(`an IPv${version} address of ${peer?.length ?? 0} bytes`);
  const local = attributes.get(IFA.LOCAL) ?? peer;
  if (local.length !== bytes)
    throw new NetlinkFormatError(`an IPv${version} address of ${local.length} bytes`);
  return {
    index: view.getUint32(4, true),
    family: version,
    prefix: view.getUint8(1),
    scope: view.getUint8(3),
    flags: readU32(attributes.get(IFA.FLAGS)) ?? view.getUint8(2),
    local,
    peer,
    broadcast: attributes.get(IFA.BROADCAST),
    metric: readU32(attributes.get(IFA.RT_PRIORITY)),
  };
}

/** Takes the payload of an RTM_NEWROUTE apart; undefined for a family that is not IP. @throws NetlinkFormatError */
export function parseRoute(payload: Uint8Array): Route | undefined {
  const attributes = parseAttributes(payload, ROUTE_BYTES);
  const view = viewOf(payload);
  const version = family(view.getUint8(0));
  if (version === undefined) return undefined;
  const destination = attributes.get(RTA.DST) ?? new Uint8Array(0);
  const prefix = view.getUint8(1);
  if (prefix > 0 && destination.length !== (version === 4 ? 4 : 16)) {
    throw new NetlinkFormatError(`an IPv${version} destination of ${destination.length} bytes`);
  }
  return {
    family: version,
    table: readU32(attributes.get(RTA.TABLE)) ?? view.getUint8(4),
    destination,
    prefix,
    link: readU32(attributes.get(RTA.OIF)),
  };
}

/** All links of the socket's namespace. @throws NetlinkError */
export function listLinks(netlink: NetlinkSocket): Link[] {
  return netlink
    .dump('RTM_GETLINK', RTM.GETLINK, [linkHeader(0, 0)])
    .map(({ payload }) => parseLink(payload));
}

/** The link of that name; undefined where there is none. @throws NetlinkError */
export function findLink(netlink: NetlinkSocket, name: string): Link | undefined {
  try {
    const parts = [linkHeader(0, 0), stringAttribute(IFLA.IFNAME, name)];
    const [message] = netlink.request('RTM_GETLINK', name, RTM.GETLINK, 0, parts);
    return message === undefined ? undefined : parseLink(message.payload);
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === ERRNO.ENODEV) return undefined;
    throw error;
  }
}

/** Changes of a link; what is not named stays. */
export interface LinkChange {
  readonly up?: boolean;
  readonly name?: string;
  /** Descriptor of a network namespace that it moves to. */
  readonly netns?: number;
}

/** Changes a link (RTM_SETLINK). @throws NetlinkError */
export function changeLink(netlink: NetlinkSocket, link: Link, change: LinkChange): void {
  const parts = [
    linkHeader(0, link.index, change.up === true ? IFF_UP : 0, change.up === undefined ? 0 : IFF_UP),
  ];
  if (change.name !== undefined) parts.push(stringAttribute(IFLA.IFNAME, change.name));
  if (change.netns !== undefined) parts.push(u32Attribute(IFLA.NET_NS_FD, change.netns));
  netlink.request('RTM_SETLINK', link.name, RTM.SETLINK, 0, parts);
}

/** Takes a port of a bridge out of sight of the bridge's other isolated ports, or back. @throws NetlinkError */
export function isolatePort(netlink: NetlinkSocket, link: Link, isolated: boolean): void {
  const flag = nested(IFLA.PROTINFO, u8Attribute(IFLA_BRPORT_ISOLATED, isolated ? 1 : 0));
  netlink.request('RTM_SETLINK', link.name, RTM.SETLINK, 0, [linkHeader(AF_BRIDGE, link.index), flag]);
}

/** Removes a link; one that is gone is no error. @throws NetlinkError */
export function removeLink(netlink: NetlinkSocket, link: Link): void {
  try {
    netlink.request('RTM_DELLINK', link.name, RTM.DELLINK, 0, [linkHeader(0, link.index)]);
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.errno !== ERRNO.ENODEV) throw error;
  }
}

/** All IP addresses of the socket's namespace. @throws NetlinkError */
export function listAddresses(netlink: NetlinkSocket): LinkAddress[] {
  return netlink
    .dump('RTM_GETADDR', RTM.GETADDR, [new Uint8Array(ADDRESS_BYTES)])
    .flatMap(({ payload }) => parseAddress(payload) ?? []);
}

/** Gives a link an address, as permanent as it was. @throws NetlinkError */
export function addAddress(netlink: NetlinkSocket, link: Link, address: LinkAddress): void {
  const header = new Uint8Array(ADDRESS_BYTES);
  const view = viewOf(header);
  view.setUint8(0, address.family === 4 ? AF_INET : AF_INET6);
  view.setUint8(1, address.prefix);
  view.setUint8(3, address.scope);
  view.setUint32(4, link.index, true);
  const parts = [header, attribute(IFA.LOCAL, address.local), attribute(IFA.ADDRESS, address.peer)];
  if (address.broadcast !== undefined) parts.push(attribute(IFA.BROADCAST, address.broadcast));
  if (address.metric !== undefined) parts.push(u32Attribute(IFA.RT_PRIORITY, address.metric));
  // What the kernel sets by itself (permanent, tentative) is not for us to pass on.
  parts.push(u32Attribute(IFA.FLAGS, address.family === 6 ? IFA_F_NODAD : 0));
  netlink.request('RTM_NEWADDR', link.name, RTM.NEWADDR, NLM_F.CREATE | NLM_F.EXCL, parts);
}

/** All IP routes of the socket's namespace. @throws NetlinkError */
export function listRoutes(netlink: NetlinkSocket): Route[] {
  return netlink
    .dump('RTM_GETROUTE', RTM.GETROUTE, [new Uint8Array(ROUTE_BYTES)])
    .flatMap(({ payload }) => parseRoute(payload) ?? []);
}
