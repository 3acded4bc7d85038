/**
 * Who listens on the host's ports (proc_net_tcp in the kernel's documentation): a published port is a rule of the firewall, which would take
 * such a program's connections away without a word, so the engine refuses it and names the program.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { formatIp, ipFromBytes } from './ip.js';
import type { PortOwner, Protocol } from './ports.js';

/** A listening socket. */
export interface Listener {
  readonly ip: string;
  readonly port: number;
  readonly protocol: Protocol;
  readonly inode: number;
}

/** Tables and the state that listens: TCP_LISTEN, and TCP_CLOSE for a UDP socket without a peer (<net/tcp_states.h>). */
const TABLES: readonly { file: string; protocol: Protocol; state: string }[] = [
  { file: 'tcp', protocol: 'tcp', state: '0A' },
  { file: 'tcp6', protocol: 'tcp', state: '0A' },
  { file: 'udp', protocol: 'udp', state: '07' },
  { file: 'udp6', protocol: 'udp', state: '07' },
];

/** An address of these tables: hexadecimal 32-bit words in the machine's order. */
function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  bytes.swap32();
  return formatIp(ipFromBytes(bytes));
}

/** Reads one table. Lines that it does not understand are passed over: the kernel may add columns. */
export function parseSocketTable(text: string, protocol: Protocol, state: string): Listener[] {
  return text.split('\n').flatMap((line) => {
    const [, local = '', , lineState, , , , , , inode = ''] = line.trim().split(/\s+/);
    const match = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(local);
    if (match === null || lineState !== state) return [];
    const [, hex = '', port = ''] = match;
    return [{ ip: addressOf(hex), port: Number.parseInt(port, 16), protocol, inode: Number(inode) }];
  });
}

/** The sockets that listen in this process's network namespace. */
function listListeners(): Listener[] {
  return TABLES.flatMap(({ file, protocol, state }) => {
    try {
      return parseSocketTable(readFileSync(`/proc/self/net/${file}`, 'utf8'), protocol, state);
    } catch {
      // A kernel without IPv6 has no table of it.
      return [];
    }
  });
}

/** Names the process that has a socket: `sshd (pid 312)`. */
function nameProcess(inode: number): string {
  const wanted = `socket:[${inode}]`;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        if (readlinkSync(`/proc/${pid}/fd/${fd}`) === wanted) {
          return `${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()} (pid ${pid})`;
        }
      }
    } catch {
      // It has ended, or is not ours to look into.
    }
  }
  return 'a program of the host';
}

/** The listeners as owners of ports; who they are is only found out when one is in the way. */
export function listenerOwners(listeners: readonly Listener[] = listListeners()): PortOwner[] {
  return listeners.map(({ ip, port, protocol, inode }) => ({
    get owner() {
      return nameProcess(inode);
    },
    ports: [{ hostIp: ip, hostPort: port, protocol }],
  }));
}
