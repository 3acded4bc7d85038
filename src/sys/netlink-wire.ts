/**
 * The bytes of netlink: messages and their attributes (RFC 3549, <linux/netlink.h>, netlink(7)). Pure: builds requests and takes answers
 * apart. Every length that comes from outside is checked against what is there; a message that lies about its length is refused whole.
 */
import { TvmmError } from './errors.js';

/** An answer that is no netlink. */
export class NetlinkFormatError extends TvmmError {
  constructor(what: string) {
    super(`a netlink answer is malformed: ${what}`, { code: 'NETLINK_MALFORMED' });
  }
}

/** Message types that every netlink family has. */
export const NLMSG = { NOOP: 1, ERROR: 2, DONE: 3, OVERRUN: 4 } as const;

/** Flags of a message; those of one value differ by the kind of request. */
export const NLM_F = {
  REQUEST: 0x1,
  MULTI: 0x2,
  ACK: 0x4,
  /** A dump that something changed under: its content may be torn. */
  DUMP_INTR: 0x10,
  DUMP: 0x300,
  EXCL: 0x200,
  CREATE: 0x400,
  /** On an error: the request is not repeated in it. */
  CAPPED: 0x100,
  /** On an error: attributes follow, among them the kernel's own words. */
  ACK_TLVS: 0x200,
} as const;

const HEADER = 16;
const ATTRIBUTE_HEADER = 4;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
/** NLMSGERR_ATTR_MSG: a sentence of the kernel's. */
const ERROR_TEXT = 1;
/** Of a kernel sentence that goes into one of ours. */
const MAX_TEXT = 256;

const align = (length: number): number => (length + 3) & ~3;

/** One message, its header taken apart. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** What NLMSG_ERROR says: `errno` 0 is an acknowledgement. */
export interface NetlinkAnswer {
  readonly errno: number;
  readonly text: string | undefined;
}

/** A whole message. Host byte order, as the kernel's. */
export function encodeMessage(
  type: number,
  flags: number,
  sequence: number,
  parts: readonly Uint8Array[],
): Uint8Array {
  const length = parts.reduce((sum, part) => sum + align(part.length), HEADER);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  let at = HEADER;
  for (const part of parts) {
    bytes.set(part, at);
    at += align(part.length);
  }
  return bytes;
}

/** An attribute, without the padding behind it. */
export function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(ATTRIBUTE_HEADER + value.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, bytes.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, ATTRIBUTE_HEADER);
  return bytes;
}

/** An attribute that holds attributes. */
export function nested(type: number, ...inner: readonly Uint8Array[]): Uint8Array {
  const value = new Uint8Array(inner.reduce((sum, one) => sum + align(one.length), 0));
  let at = 0;
  for (const one of inner) {
    value.set(one, at);
    at += align(one.length);
  }
  return attribute(type | NLA_F_NESTED, value);
}

export function u8Attribute(type: number, value: number): Uint8Array {
  return attribute(type, Uint8Array.of(value));
}

export function u32Attribute(type: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return attribute(type, bytes);
}

/** A string with its NUL. */
export function stringAttribute(type: number, value: string): Uint8Array {
  return attribute(type, Buffer.from(`${value}\0`));
}

/** A DataView of exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Takes a datagram apart. @throws NetlinkFormatError */
export function parseMessages(bytes: Uint8Array): NetlinkMessage[] {
  const view = viewOf(bytes);
  const messages: NetlinkMessage[] = [];
  let at = 0;
  while (at < bytes.length) {
    const left = bytes.length - at;
    if (left < HEADER) throw new NetlinkFormatError(`${left} bytes are left where a header needs ${HEADER}`);
    const length = view.getUint32(at, true);
    if (length < HEADER || length > left) {
      throw new NetlinkFormatError(`a message of ${length} bytes where ${left} are left`);
    }
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      payload: bytes.subarray(at + HEADER, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** The attributes from `offset` on, by type; of two with one type the last stays. @throws NetlinkFormatError */
export function parseAttributes(payload: Uint8Array, offset = 0): Map<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  if (offset > payload.length) {
    throw new NetlinkFormatError(`${payload.length} bytes where a fixed part needs ${offset}`);
  }
  const view = viewOf(payload);
  let at = offset;
  // What is shorter than a header at the end is padding.
  while (at + ATTRIBUTE_HEADER <= payload.length) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_HEADER || at + length > payload.length) {
      throw new NetlinkFormatError(`an attribute of ${length} bytes where ${payload.length - at} are left`);
    }
    attributes.set(
      view.getUint16(at + 2, true) & NLA_TYPE_MASK,
      payload.subarray(at + ATTRIBUTE_HEADER, at + length),
    );
    at += align(length);
  }
  return attributes;
}

/** Reads an NLMSG_ERROR, or the status that ends a dump. @throws NetlinkFormatError */
export function parseAnswer(message: NetlinkMessage): NetlinkAnswer {
  if (message.payload.length < 4) throw new NetlinkFormatError('an answer without a status');
  const view = viewOf(message.payload);
  const errno = -view.getInt32(0, true);
  let text: string | undefined;
  if ((message.flags & NLM_F.ACK_TLVS) !== 0) {
    const repeated = message.type === NLMSG.ERROR ? repeatedLength(message, view) : 0;
    const words = parseAttributes(message.payload, 4 + repeated).get(ERROR_TEXT);
    if (words !== undefined) text = readString(words).slice(0, MAX_TEXT);
  }
  return { errno: errno === 0 ? 0 : errno, text };
}

/** How much of the request an NLMSG_ERROR repeats: its header, and all of it unless capped. */
function repeatedLength(message: NetlinkMessage, view: DataView): number {
  if (message.payload.length < 4 + HEADER) throw new NetlinkFormatError('an error without its request');
  return (message.flags & NLM_F.CAPPED) !== 0 ? HEADER : align(view.getUint32(4, true));
}

/** A string up to its NUL, or the whole of it. */
export function readString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
}

/** A number of exactly 4 bytes; undefined where there is none. */
export function readU32(bytes: Uint8Array | undefined): number | undefined {
  return bytes?.length === 4 ? viewOf(bytes).getUint32(0, true) : undefined;
}
