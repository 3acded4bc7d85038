/**
 * As much of protocol buffers' wire format (version 2) as criu's small messages need: varints, strings and messages within messages, each
 * under the number of its field. Reading refuses what is cut off or longer than what holds it.
 */
import { CheckpointError } from '../errors.js';

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** A message to be sent: its fields in the order in which they are added. */
export class ProtoMessage {
  readonly #bytes: number[] = [];

  /** int32, uint32, bool or enum; not negative. */
  number(field: number, value: number | boolean): this {
    this.#varint(field * 8 + VARINT);
    this.#varint(Number(value));
    return this;
  }

  text(field: number, value: string): this {
    return this.#piece(field, Buffer.from(value));
  }

  message(field: number, value: ProtoMessage): this {
    return this.#piece(field, value.encode());
  }

  encode(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  #piece(field: number, bytes: Uint8Array): this {
    this.#varint(field * 8 + BYTES);
    this.#varint(bytes.length);
    for (const byte of bytes) this.#bytes.push(byte);
    return this;
  }

  #varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is no unsigned number`);
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.#bytes.push((rest % 0x80) | 0x80);
    this.#bytes.push(rest);
  }
}

/** A message that was received. Of a field that comes more than once the last counts. */
export class ProtoFields {
  readonly #numbers = new Map<number, bigint>();
  readonly #pieces = new Map<number, Uint8Array>();

  /** @throws CheckpointError for what is no message */
  constructor(bytes: Uint8Array) {
    let at = 0;
    const varint = (): bigint => {
      for (let value = 0n, shift = 0n; shift < 70n; shift += 7n) {
        const byte = bytes[at++];
        if (byte === undefined) break;
        value |= BigInt(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
      }
      throw new CheckpointError('criu sent a message that is cut off');
    };
    const skip = (length: bigint): Uint8Array => {
      if (length > BigInt(bytes.length - at))
        throw new CheckpointError('criu sent a message that is cut off');
      at += Number(length);
      return bytes.subarray(at - Number(length), at);
    };
    while (at < bytes.length) {
      const tag = varint();
      const field = Number(tag >> 3n);
      const kind = Number(tag & 7n);
      if (kind === VARINT) this.#numbers.set(field, varint());
      else if (kind === BYTES) this.#pieces.set(field, skip(varint()));
      else if (kind === FIXED64 || kind === FIXED32) skip(kind === FIXED64 ? 8n : 4n);
      else throw new CheckpointError(`criu sent a message with a field of kind ${kind}`);
    }
  }

  /** An int32 (which is sent with 64 bits where it is negative), a bool or an enum. */
  number(field: number): number | undefined {
    const value = this.#numbers.get(field);
    return value === undefined ? undefined : Number(BigInt.asIntN(32, value));
  }

  text(field: number): string | undefined {
    const piece = this.#pieces.get(field);
    return piece === undefined ? undefined : Buffer.from(piece).toString();
  }

  message(field: number): ProtoFields | undefined {
    const piece = this.#pieces.get(field);
    return piece === undefined ? undefined : new ProtoFields(piece);
  }
}
