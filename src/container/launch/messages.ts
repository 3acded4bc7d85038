/**
 * The messages between launcher and engine: 32 bytes each, little endian, over a Unix stream (firmware/launcher/report.h).
 *
 *     type u8, tag u8, program u16, step u32, then value i64, errno u32, 12 bytes unused; or 24 bytes of text, `tag` of them used
 */

export const MESSAGE_SIZE = 32;

/** What a message says. `answer` and `cancel` are the engine's, the others are the launcher's. */
export const MESSAGE = { sent: 1, failed: 2, ended: 3, text: 4, answer: 16, cancel: 17 } as const;

export interface Message {
  readonly type: number;
  readonly tag: number;
  readonly program: number;
  readonly step: number;
  readonly value: number;
  readonly errno: number;
  /** The 24 bytes as text, for `text`. */
  readonly text: Uint8Array;
}

/** @param bytes at least MESSAGE_SIZE of them */
export function decodeMessage(bytes: Uint8Array): Message {
  const view = new DataView(bytes.buffer, bytes.byteOffset, MESSAGE_SIZE);
  const tag = view.getUint8(1);
  return {
    type: view.getUint8(0),
    tag,
    program: view.getUint16(2, true),
    step: view.getUint32(4, true),
    // Values are pids, descriptors and statuses: what a number cannot hold exactly is not one of those.
    value: Number(view.getBigInt64(8, true)),
    errno: view.getUint32(16, true),
    text: bytes.subarray(8, 8 + Math.min(tag, 24)),
  };
}

/** The engine's answer to a receive step. */
export function encodeAnswer(tag: number, value: number): Uint8Array {
  return encodeMessage(MESSAGE.answer, tag, value);
}

/** Ends the processes of a launch that wait for something, without a word: the engine tells why. */
export function encodeCancel(): Uint8Array {
  return encodeMessage(MESSAGE.cancel, 0, 0);
}

function encodeMessage(type: number, tag: number, value: number): Uint8Array {
  const bytes = new Uint8Array(MESSAGE_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, type);
  view.setUint8(1, tag);
  view.setBigInt64(8, BigInt(value), true);
  return bytes;
}
