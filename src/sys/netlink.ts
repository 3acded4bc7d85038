/**
 * A netlink socket: requests with their acknowledgements, and dumps (netlink(7)). The kernel answers while the request is being sent, so
 * nothing in here waits. Refuses answers that are cut short; repeats a dump that changed while it ran.
 */
import { ERRNO } from './errno.js';
import { SystemError } from './errors.js';
import { FileDescriptor } from './fd.js';
import { check, lastErrno, recv, setsockopt, socket, write } from './libc.js';
import {
  encodeMessage,
  type NetlinkMessage,
  NLM_F,
  NLMSG,
  parseAnswer,
  parseMessages,
} from './netlink-wire.js';
import { enterNetns } from './netns.js';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;

/** The kernel never makes a datagram of a dump larger than 32 KiB. */
const RECEIVE_BYTES = 65536;
/** A dump of a machine with very many links, bounded all the same. */
const MAX_DATAGRAMS = 100_000;
const MAX_ATTEMPTS = 5;

/** A request that the kernel refused: `RTM_NEWADDR eth0: EEXIST`, with its own words as the hint where it has some. */
export class NetlinkError extends SystemError {}

/** An rtnetlink socket. It stays in the network namespace that it was opened in. */
export class NetlinkSocket implements Disposable {
  readonly #socket: FileDescriptor;
  readonly #buffer = new Uint8Array(RECEIVE_BYTES);
  #sequence = 0;

  private constructor(descriptor: FileDescriptor) {
    this.#socket = descriptor;
  }

  /**
   * Opens a socket in this process's network namespace, or in the one that `netns` (a path like `/proc/PID/ns/net`) names.
   *
   * @throws SystemError
   */
  static open(netns?: string): NetlinkSocket {
    const create = () =>
      new FileDescriptor(
        check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), 'socket', 'AF_NETLINK'),
        netns === undefined ? 'the netlink socket' : `the netlink socket of ${netns}`,
      );
    const descriptor = netns === undefined ? create() : enterNetns(netns, create);
    const on = new Uint32Array([1]);
    // Kernels older than 4.12 have neither: then there are no words, and the request is repeated in the answer.
    setsockopt(descriptor.fd, SOL_NETLINK, NETLINK_CAP_ACK, on, 4);
    setsockopt(descriptor.fd, SOL_NETLINK, NETLINK_EXT_ACK, on, 4);
    return new NetlinkSocket(descriptor);
  }

  /**
   * Sends one request and gives what the kernel answers before its acknowledgement.
   *
   * @param name the request's name and object for the message: `RTM_SETLINK`, `eth0`
   * @throws NetlinkError
   */
  request(
    name: string,
    object: string,
    type: number,
    flags: number,
    parts: readonly Uint8Array[],
  ): NetlinkMessage[] {
    this.#send(name, object, type, flags | NLM_F.ACK, parts);
    return this.#collect(name, object).messages;
  }

  /** All objects of a kind. @throws NetlinkError */
  dump(name: string, type: number, parts: readonly Uint8Array[]): NetlinkMessage[] {
    for (let attempt = 1; ; attempt += 1) {
      this.#send(name, '', type, NLM_F.DUMP, parts);
      const { messages, torn } = this.#collect(name, '');
      if (!torn || attempt === MAX_ATTEMPTS) return messages;
    }
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #send(name: string, object: string, type: number, flags: number, parts: readonly Uint8Array[]): void {
    this.#sequence += 1;
    const bytes = encodeMessage(type, flags | NLM_F.REQUEST, this.#sequence, parts);
    if (write(this.#socket.fd, bytes, bytes.length) !== bytes.length) {
      throw new NetlinkError(name, object, lastErrno());
    }
  }

  #collect(name: string, object: string): { messages: NetlinkMessage[]; torn: boolean } {
    const messages: NetlinkMessage[] = [];
    let torn = false;
    for (let datagrams = 0; datagrams < MAX_DATAGRAMS; datagrams += 1) {
      const length = recv(this.#socket.fd, this.#buffer, RECEIVE_BYTES, MSG_DONTWAIT | MSG_TRUNC);
      if (length < 0) {
        if (lastErrno() === ERRNO.EINTR) continue;
        throw new NetlinkError(name, object, lastErrno());
      }
      if (length > RECEIVE_BYTES) throw new NetlinkError(name, object, ERRNO.EMSGSIZE);
      // A copy: the buffer is used again.
      for (const message of parseMessages(this.#buffer.slice(0, length))) {
        if (message.sequence !== this.#sequence) continue;
        torn ||= (message.flags & NLM_F.DUMP_INTR) !== 0;
        if (message.type === NLMSG.ERROR || message.type === NLMSG.DONE) {
          const { errno, text } = parseAnswer(message);
          if (errno === 0) return { messages, torn };
          throw new NetlinkError(
            name,
            object,
            errno,
            text === undefined ? undefined : `the kernel says: ${text}`,
          );
        }
        if (message.type !== NLMSG.NOOP) messages.push(message);
      }
    }
    throw new NetlinkError(name, object, ERRNO.EOVERFLOW);
  }
}
