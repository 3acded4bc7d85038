/**
 * The data of an encoded plan: strings, vectors and structs laid out one after the other, with their relocations and patches. Equal strings
 * and vectors are one place; a struct is one place per object, since calls write into it.
 */
import type { Data, Register, Struct } from './plan.js';

/** A field of data that takes a register's value before a step runs. */
export interface Patch {
  readonly at: number;
  readonly size: 4 | 8;
  readonly register: Register;
}

/** Arranges data. Offsets that it gives out are final. */
export class DataArea {
  #bytes = Buffer.alloc(8192);
  #length = 0;
  readonly #strings = new Map<string, number>();
  readonly #vectors = new Map<string, number>();
  readonly #structs = new Map<Struct, number>();
  /** Address fields: the 8 bytes at `at` become the address of `to`. */
  readonly relocations: { at: number; to: number }[] = [];

  /** The offset of `data`, which is laid out at the first request. @throws RangeError for a struct whose fields do not fit in its bytes */
  place(data: Data): number {
    if (typeof data === 'string') return this.#placeString(data);
    return isStruct(data) ? this.#placeStruct(data) : this.#placeVector(data);
  }

  /** The patches of a struct and of everything that it points to, in a fixed order. */
  patchesOf(data: Data, seen = new Set<Struct>()): Patch[] {
    if (!isStruct(data) || seen.has(data)) return [];
    seen.add(data);
    const base = this.place(data);
    return [
      ...(data.patches ?? []).map(({ at, size, from }) => ({ at: base + at, size, register: from })),
      ...(data.pointers ?? []).flatMap(({ to }) => this.patchesOf(to, seen)),
    ];
  }

  /** All of it, with the zero byte at the end that ends the last string. */
  finish(): Uint8Array {
    this.#reserve(1, 1);
    this.#reserve(0, 8);
    return this.#bytes.subarray(0, this.#length);
  }

  #placeString(text: string): number {
    const known = this.#strings.get(text);
    if (known !== undefined) return known;
    if (text.includes('\0')) throw new RangeError(`a string of a plan holds a NUL: ${JSON.stringify(text)}`);
    // At most three bytes for each of UTF-16's units; what is not needed is given back.
    const at = this.#reserve(text.length * 3 + 1, 1);
    this.#length = at + this.#bytes.write(text, at) + 1;
    this.#strings.set(text, at);
    return at;
  }

  #placeVector(strings: readonly string[]): number {
    const key = strings.join('\0');
    // The empty vector and the vector of one empty string have the same key otherwise.
    const known = this.#vectors.get(`${strings.length}\0${key}`);
    if (known !== undefined) return known;
    const targets = strings.map((text) => this.#placeString(text));
    const at = this.#reserve((strings.length + 1) * 8, 8);
    targets.forEach((to, index) => {
      this.relocations.push({ at: at + index * 8, to });
    });
    this.#vectors.set(`${strings.length}\0${key}`, at);
    return at;
  }

  #placeStruct(struct: Struct): number {
    const known = this.#structs.get(struct);
    if (known !== undefined) return known;
    for (const { at } of struct.pointers ?? NONE) checkField(struct, at, 8);
    for (const { at, size } of struct.patches ?? NONE) checkField(struct, at, size);
    // At least one byte, so that no two structs have one address.
    const at = this.#reserve(Math.max(struct.bytes.length, 1), 8);
    this.#bytes.set(struct.bytes, at);
    // Known before its pointers are followed: structs may point to each other.
    this.#structs.set(struct, at);
    for (const pointer of struct.pointers ?? NONE)
      this.relocations.push({ at: at + pointer.at, to: this.place(pointer.to) });
    return at;
  }

  #reserve(bytes: number, alignment: number): number {
    const at = Math.ceil(this.#length / alignment) * alignment;
    const end = at + bytes;
    if (end > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(end, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#length = end;
    return at;
  }
}

const NONE: readonly never[] = [];

/** @throws RangeError */
function checkField({ bytes }: Struct, at: number, size: number): void {
  if (!Number.isInteger(at) || at < 0 || at + size > bytes.length)
    throw new RangeError(`a field at ${at} of ${size} bytes is not inside a struct of ${bytes.length}`);
}

export function isStruct(data: Data): data is Struct {
  return typeof data === 'object' && 'bytes' in data;
}
