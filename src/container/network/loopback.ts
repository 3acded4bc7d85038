/**
 * Brings up lo in a network namespace from outside it, by netlink: for a namespace without a process (a pod's), and for containers whose
 * plan did not. A container's own program does it by the plan (compile/loopback.ts).
 */
import { NetlinkSocket } from '../../sys/netlink.js';
import { changeLink, findLink, IFF_UP } from '../../sys/netlink-route.js';

/** Harmless where it is up. @throws SystemError */
export function bringLoopbackUp(netns: string): void {
  using netlink = NetlinkSocket.open(netns);
  const lo = findLink(netlink, 'lo');
  if (lo !== undefined && (lo.flags & IFF_UP) === 0) changeLink(netlink, lo, { up: true });
}
