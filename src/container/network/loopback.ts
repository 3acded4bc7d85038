/**
 * Brings up lo in a new network namespace: as steps for the launcher's program that is in it (no plugin, no netlink answer to read:
 * SIOCSIFFLAGS of netdevice(7) fails with an errno, on a socket of any family), or from outside by netlink.
 */
import { NetlinkSocket } from '../../sys/netlink.js';
import { changeLink, findLink } from '../../sys/netlink-route.js';
import type { Step } from '../plan/plan.js';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 0o2000002;
/** <linux/sockios.h> */
const SIOCSIFFLAGS = 0x8914;
/** struct ifreq: 16 bytes of name, then a union of 24 that begins with the flags. */
const IFREQ = { bytes: 40, flags: 16 } as const;
const IFF_UP = 1;
const IFF_RUNNING = 0x40;

const WHAT = 'bring up the loopback interface';

/** @param register free for the socket meanwhile */
export function loopbackUpSteps(register = 'lo-socket'): Step[] {
  const bytes = new Uint8Array(IFREQ.bytes);
  bytes.set(Buffer.from('lo'));
  new DataView(bytes.buffer).setUint16(IFREQ.flags, IFF_UP | IFF_RUNNING, true);
  return [
    {
      op: 'call',
      what: WHAT,
      call: 'socket',
      arguments: [
        { value: AF_UNIX, text: 'AF_UNIX' },
        { value: SOCK_DGRAM_CLOEXEC, text: 'SOCK_DGRAM|SOCK_CLOEXEC' },
        0,
      ],
      result: register,
    },
    {
      op: 'call',
      what: WHAT,
      call: 'ioctl',
      arguments: [
        { register },
        { value: SIOCSIFFLAGS, text: 'SIOCSIFFLAGS' },
        { data: { bytes, text: '{lo, IFF_UP|IFF_RUNNING}' } },
      ],
    },
    { op: 'call', what: WHAT, call: 'close', arguments: [{ register }] },
  ];
}

/** The same from outside, for a namespace without a process (a pod's). @throws SystemError */
export function bringLoopbackUp(netns: string): void {
  using netlink = NetlinkSocket.open(netns);
  const lo = findLink(netlink, 'lo');
  if (lo !== undefined) changeLink(netlink, lo, { up: true });
}
