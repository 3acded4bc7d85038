/**
 * C struct layouts as data: `struct('kvm_regs', { rax: 'u64', … })` computes sizes and offsets by the x86-64 System V ABI
 * (natural alignment), and {@link StructView} reads and writes fields over any buffer. The tests compare every layout with
 * what gcc makes of the kernel's own headers.
 */

export type Scalar = 'u8' | 'u16' | 'u32' | 's32' | 'u64';

/** `count` elements of a scalar or a struct, in place. */
export interface ArrayField {
  readonly array: Scalar | StructType;
  readonly count: number;
}

export type FieldType = Scalar | StructType | ArrayField;
export type FieldMap = Readonly<Record<string, FieldType>>;

export interface StructType<F extends FieldMap = FieldMap> {
  /** The C name, without `struct`. */
  readonly name: string;
  readonly fields: F;
  /** Bytes from the start, per field. */
  readonly offsets: Readonly<Record<keyof F, number>>;
  readonly size: number;
  readonly alignment: number;
}

const SCALAR_SIZE: Record<Scalar, number> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8 };

function isArray(type: FieldType): type is ArrayField {
  return typeof type === 'object' && 'array' in type;
}

/** Size and alignment of a field, in bytes. */
export function measure(type: FieldType): { size: number; alignment: number } {
  if (typeof type === 'string') return { size: SCALAR_SIZE[type], alignment: SCALAR_SIZE[type] };
  if (isArray(type)) {
    const element = measure(type.array);
    return { size: element.size * type.count, alignment: element.alignment };
  }
  return { size: type.size, alignment: type.alignment };
}

/** Lays out a struct. A flexible array member is left out: `size` is then the size of its header, as in C. */
export function struct<F extends FieldMap>(name: string, fields: F): StructType<F> {
  const offsets: Record<string, number> = {};
  let end = 0;
  let alignment = 1;
  for (const [field, type] of Object.entries(fields)) {
    const part = measure(type);
    end = Math.ceil(end / part.alignment) * part.alignment;
    offsets[field] = end;
    end += part.size;
    alignment = Math.max(alignment, part.alignment);
  }
  return {
    name,
    fields,
    offsets: offsets as Record<keyof F, number>,
    size: Math.ceil(end / alignment) * alignment,
    alignment,
  };
}

/** The fields of `F` whose type is `T`. */
type FieldsOf<F extends FieldMap, T> = { [K in keyof F]: F[K] extends T ? K : never }[keyof F] & string;

/** Typed access to one struct in a buffer; numbers for up to 32 bits, bigints for 64. Little-endian. */
export class StructView<F extends FieldMap> {
  readonly #view: DataView;

  constructor(
    readonly type: StructType<F>,
    buffer: ArrayBufferLike = new ArrayBuffer(type.size),
    readonly byteOffset = 0,
  ) {
    this.#view = new DataView(buffer, byteOffset, type.size);
  }

  /** The struct's bytes, live. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.#view.buffer, this.byteOffset, this.type.size);
  }

  get(field: FieldsOf<F, 'u8' | 'u16' | 'u32' | 's32'>): number {
    const offset = this.type.offsets[field];
    switch (this.type.fields[field]) {
      case 'u8':
        return this.#view.getUint8(offset);
      case 'u16':
        return this.#view.getUint16(offset, true);
      case 's32':
        return this.#view.getInt32(offset, true);
      default:
        return this.#view.getUint32(offset, true);
    }
  }

  set(field: FieldsOf<F, 'u8' | 'u16' | 'u32' | 's32'>, value: number): this {
    const offset = this.type.offsets[field];
    switch (this.type.fields[field]) {
      case 'u8':
        this.#view.setUint8(offset, value);
        break;
      case 'u16':
        this.#view.setUint16(offset, value, true);
        break;
      default:
        this.#view.setUint32(offset, value, true);
    }
    return this;
  }

  get64(field: FieldsOf<F, 'u64'>): bigint {
    return this.#view.getBigUint64(this.type.offsets[field], true);
  }

  set64(field: FieldsOf<F, 'u64'>, value: bigint | number): this {
    this.#view.setBigUint64(this.type.offsets[field], BigInt(value), true);
    return this;
  }

  /** The bytes of an array field or a nested struct, live. */
  bytesOf(field: keyof F & string): Uint8Array {
    const { size } = measure(this.type.fields[field]);
    return new Uint8Array(this.#view.buffer, this.byteOffset + this.type.offsets[field], size);
  }

  /** A nested struct, live. */
  nested<N extends FieldMap>(field: keyof F & string, type: StructType<N>): StructView<N> {
    const declared: FieldType = this.type.fields[field];
    if (typeof declared === 'string' || !('name' in declared) || declared.name !== type.name) {
      throw new TypeError(`${this.type.name}.${field} is not a ${type.name}`);
    }
    return new StructView(type, this.#view.buffer, this.byteOffset + this.type.offsets[field]);
  }
}
