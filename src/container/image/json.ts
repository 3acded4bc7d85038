/**
 * Reading JSON that others wrote: each accessor checks the type and names the place by JSON pointer (RFC 6901) when it is wrong. Unknown
 * members are ignored, as the OCI specifications demand; absent ones are `undefined`, and so is `null`, which Go programs write for empty lists.
 */
import { ImageFormatError } from './errors.js';

export class JsonView {
  constructor(
    readonly value: unknown,
    /** What the document is, for messages: `the manifest of debian:12`. */
    readonly document: string,
    readonly pointer = '',
  ) {}

  /** Parses a document. @throws ImageFormatError */
  static parse(text: string | Buffer, document: string): JsonView {
    try {
      return new JsonView(JSON.parse(text.toString()), document);
    } catch (cause) {
      throw new ImageFormatError(`${document} is not valid JSON`, { code: 'IMAGE_FORMAT', cause });
    }
  }

  /** Refuses the value. @throws ImageFormatError */
  fail(why: string): never {
    const where = this.pointer === '' ? '' : ` at ${this.pointer}`;
    throw new ImageFormatError(`${this.document} is invalid${where}: ${why}`, { code: 'IMAGE_FORMAT' });
  }

  get isAbsent(): boolean {
    return this.value === undefined || this.value === null;
  }

  #record(): Readonly<Record<string, unknown>> {
    const { value } = this;
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      this.fail('an object is expected');
    // Just checked; the members stay unknown.
    return value as Readonly<Record<string, unknown>>;
  }

  member(name: string): JsonView {
    const record = this.#record();
    const value = Object.hasOwn(record, name) ? record[name] : undefined;
    return new JsonView(
      value,
      this.document,
      `${this.pointer}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`,
    );
  }

  keys(): string[] {
    return this.isAbsent ? [] : Object.keys(this.#record());
  }

  /** The elements of an array; none when it is absent. */
  elements(max = 10_000): JsonView[] {
    if (this.isAbsent) return [];
    if (!Array.isArray(this.value)) this.fail('an array is expected');
    if (this.value.length > max) this.fail(`more than ${max} elements`);
    return this.value.map((one: unknown, i) => new JsonView(one, this.document, `${this.pointer}/${i}`));
  }

  string(): string {
    if (typeof this.value !== 'string') this.fail('a string is expected');
    return this.value;
  }

  optionalString(): string | undefined {
    return this.isAbsent ? undefined : this.string();
  }

  strings(): string[] {
    return this.elements().map((one) => one.string());
  }

  /** A whole number from 0 on that JavaScript holds exactly. */
  size(): number {
    if (typeof this.value !== 'number' || !Number.isSafeInteger(this.value) || this.value < 0) {
      this.fail('a size is expected');
    }
    return this.value;
  }

  stringMap(): Record<string, string> {
    const map: Record<string, string> = Object.create(null);
    for (const key of this.keys()) map[key] = this.member(key).string();
    return map;
  }
}
