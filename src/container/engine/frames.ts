/**
 * What the minder and its clients say to each other over DIR/minder.sock: type (1 byte), length (4, little endian), payload. The same
 * table stands in firmware/minder.c.
 */
import { MinderError } from './errors.js';

export const FRAME = {
  stdin: 1,
  stdinEnd: 2,
  /** Rows, columns: 2 bytes each. */
  resize: 3,
  /** Init's pid: 4 bytes. */
  pid: 4,
  /**
   * 1 byte: bit 0 stdout, bit 1 stderr, bit 2: stdin ends with this client, bit 3: it cleans up after the end. The end is told to every client.
   */
  subscribe: 5,
  /** A client that cleans up has: the minder leaves without its exit command. */
  done: 6,
  stdout: 11,
  stderr: 12,
  /** Wait status as waitpid(2) gives it: 4 bytes; -1 when it is not known. */
  end: 13,
  /** The answer to `pid` and `subscribe`: the minder's pid, 4 bytes. */
  ok: 14,
} as const;

export const HEADER_SIZE = 5;
/** The minder refuses more; it sends at most 32 KiB. */
export const MAX_PAYLOAD = 64 * 1024;

export interface Frame {
  readonly type: number;
  readonly payload: Buffer;
}

export function encodeFrame(type: number, payload: Uint8Array = new Uint8Array()): Buffer {
  if (payload.length > MAX_PAYLOAD) throw new RangeError(`a frame of ${payload.length} bytes is too long`);
  const frame = Buffer.alloc(HEADER_SIZE + payload.length);
  frame.writeUInt8(type, 0);
  frame.writeUInt32LE(payload.length, 1);
  frame.set(payload, HEADER_SIZE);
  return frame;
}

export function encodeResize(rows: number, columns: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt16LE(Math.min(rows, 0xffff), 0);
  payload.writeUInt16LE(Math.min(columns, 0xffff), 2);
  return encodeFrame(FRAME.resize, payload);
}

export function encodePid(pid: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeInt32LE(pid);
  return encodeFrame(FRAME.pid, payload);
}

/** Bytes, however they were cut, to whole frames. */
export class FrameReader {
  #rest = Buffer.alloc(0);

  /** @throws MinderError for what no minder says */
  read(bytes: Uint8Array): Frame[] {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    const frames: Frame[] = [];
    while (this.#rest.length >= HEADER_SIZE) {
      const length = this.#rest.readUInt32LE(1);
      if (length > MAX_PAYLOAD)
        throw new MinderError(`the minder sent a frame of ${length} bytes`, { code: 'MINDER_PROTOCOL' });
      if (this.#rest.length < HEADER_SIZE + length) break;
      frames.push({
        type: this.#rest.readUInt8(0),
        payload: this.#rest.subarray(HEADER_SIZE, HEADER_SIZE + length),
      });
      this.#rest = this.#rest.subarray(HEADER_SIZE + length);
    }
    return frames;
  }
}

/** A wait status as shells tell it: the exit status, or 128 + the signal; 255 when it is not known. */
export function exitCodeOf(waitStatus: number): number {
  if (waitStatus < 0) return 255;
  const signal = waitStatus & 0x7f;
  return signal === 0 ? (waitStatus >> 8) & 0xff : 128 + signal;
}
