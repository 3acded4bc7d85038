/**
 * As much of protocol buffers as a few messages need (protobuf.dev, "Encoding"): varints, texts and nested messages, by field number. Numbers are
 * not negative.
 */

/** A field's value; a list makes the field appear once for each element. */
export type Value = string | number | boolean | Message | readonly Value[];

/** Fields by number. */
export interface Message {
  readonly [field: number]: Value;
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}

function encodeField(field: number, value: Value): Buffer {
  if (Array.isArray(value)) return Buffer.concat(value.map((one) => encodeField(field, one)));
  const tag = (type: number) => Buffer.from(varint(field * 8 + type));
  if (typeof value === 'number' || typeof value === 'boolean')
    return Buffer.concat([tag(VARINT), Buffer.from(varint(Number(value)))]);
  const bytes = typeof value === 'string' ? Buffer.from(value) : encode(value);
  return Buffer.concat([tag(BYTES), Buffer.from(varint(bytes.length)), bytes]);
}

export function encode(message: Message): Buffer {
  return Buffer.concat(Object.entries(message).map(([field, value]) => encodeField(Number(field), value)));
}

/** What came: fields are looked up by their path of numbers; the last of several counts. */
export class Decoded {
  readonly #fields = new Map<number, number | Buffer>();

  constructor(bytes: Buffer) {
    let at = 0;
    const number = (): number => {
      let value = 0;
      for (let factor = 1; ; factor *= 0x80) {
        const byte = bytes.readUInt8(at++);
        value += (byte & 0x7f) * factor;
        if (byte < 0x80) return value;
      }
    };
    while (at < bytes.length) {
      const tag = number();
      const type = tag % 8;
      const field = Math.floor(tag / 8);
      if (type === VARINT) this.#fields.set(field, number());
      else if (type === BYTES) {
        const length = number();
        this.#fields.set(field, bytes.subarray(at, at + length));
        at += length;
      } else if (type === FIXED64) at += 8;
      else if (type === FIXED32) at += 4;
      else throw new Error(`field ${field} is of type ${type}`);
    }
  }

  #find(path: readonly number[]): number | Buffer | undefined {
    const [first = 0, ...rest] = path;
    const value = this.#fields.get(first);
    if (rest.length === 0 || value === undefined) return value;
    return typeof value === 'number' ? undefined : new Decoded(value).#find(rest);
  }

  /** Zero when it is not there, as the format wants. */
  number(...path: number[]): number {
    const value = this.#find(path);
    return typeof value === 'number' ? value : 0;
  }

  text(...path: number[]): string {
    const value = this.#find(path);
    return typeof value === 'object' ? value.toString() : '';
  }
}
