/**
 * One place in a JSON document, with readers that note what is wrong there instead of throwing: so that a whole document's problems are
 * told at once. JSON's `null` says as much as absence. Members that nobody asks for are never looked at (config.md, "Extensibility").
 */
import type { SpecProblem } from './errors.js';

const UINT32_MAX = 2 ** 32 - 1;
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const UINT64_MAX = 2n ** 64n - 1n;

/** What stands there, in a few words. */
function show(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  return String(value);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export class Field {
  /** Undefined where the document has nothing or null. */
  readonly value: unknown;

  constructor(
    value: unknown,
    readonly path: string,
    readonly problems: SpecProblem[],
  ) {
    this.value = value === null ? undefined : value;
  }

  get absent(): boolean {
    return this.value === undefined;
  }

  /** Notes a problem here. The message goes on from the path: `must be …`. */
  problem(message: string): undefined {
    this.problems.push({ path: this.path, message });
    return undefined;
  }

  #must(what: string): undefined {
    return this.problem(this.absent ? 'is missing' : `must be ${what}, not ${show(this.value)}`);
  }

  /** The member of an object; absent when this is no object. */
  member(name: string): Field {
    const path = this.path === '' ? name : `${this.path}.${name}`;
    const value = isObject(this.value) && Object.hasOwn(this.value, name) ? this.value[name] : undefined;
    return new Field(value, path, this.problems);
  }

  /** Reads an object, if there is one. */
  object<T>(read: (field: Field) => T): T | undefined {
    if (this.absent) return undefined;
    if (!isObject(this.value)) return this.#must('an object');
    return read(this);
  }

  /** Reads the elements of an array, if there is one. Elements that `read` gives nothing for have a problem of their own. */
  list<T>(read: (field: Field) => T | undefined): readonly T[] | undefined {
    if (this.absent) return undefined;
    if (!Array.isArray(this.value)) return this.#must('an array');
    const elements: readonly unknown[] = this.value;
    return elements.flatMap((element, index) => {
      const field = new Field(element, `${this.path}[${index}]`, this.problems);
      if (field.absent) field.#must('a value');
      const item = field.absent ? undefined : read(field);
      return item === undefined ? [] : [item];
    });
  }

  /** Reads the values of an object whose keys are free. */
  map<T>(read: (field: Field, key: string) => T | undefined): Readonly<Record<string, T>> | undefined {
    if (this.absent) return undefined;
    if (!isObject(this.value)) return this.#must('an object');
    const entries: [string, T][] = [];
    for (const key of Object.keys(this.value)) {
      const field = this.member(key);
      if (key.includes('\0')) field.problem('has a NUL character in its name');
      const item = field.absent ? undefined : read(field, key);
      if (item !== undefined) entries.push([key, item]);
    }
    return Object.fromEntries(entries);
  }

  /** A string without NUL characters: the kernel would see only what stands before one. */
  text(): string | undefined {
    if (this.absent) return undefined;
    if (typeof this.value !== 'string') return this.#must('a string');
    if (this.value.includes('\0')) return this.problem('must not hold a NUL character');
    if (!this.value.isWellFormed()) return this.problem('must be Unicode text without lone surrogates');
    return this.value;
  }

  /** A string where the empty one says nothing. */
  words(): string | undefined {
    const text = this.text();
    return text === '' ? undefined : text;
  }

  /** A string that must be there and not be empty. */
  requiredText(): string {
    if (this.absent) this.problem('is missing');
    if (this.value === '') this.problem('must not be empty');
    return this.text() ?? '';
  }

  absolutePath(): string {
    const path = this.requiredText();
    if (path !== '' && !path.startsWith('/')) this.problem(`must be an absolute path, not ${show(path)}`);
    return path;
  }

  boolean(): boolean | undefined {
    if (this.absent) return undefined;
    return typeof this.value === 'boolean' ? this.value : this.#must('true or false');
  }

  /** One of some names. */
  oneOf<T extends string>(names: readonly T[]): T | undefined {
    const text = this.text();
    if (text === undefined) return undefined;
    return names.find((name) => name === text) ?? this.#must(`one of ${names.join(', ')}`);
  }

  requiredOneOf<T extends string>(names: readonly [T, ...T[]]): T {
    if (this.absent) this.problem('is missing');
    return this.oneOf(names) ?? names[0];
  }

  /** A whole number, exact whatever its size. */
  #whole(min: bigint, max: bigint, what: string): bigint | undefined {
    const { value } = this;
    if (this.absent) return undefined;
    if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) {
      const whole = BigInt(value);
      if (whole >= min && whole <= max) return whole;
    }
    return this.#must(what);
  }

  /** A whole number within bounds that a double holds exactly. */
  integer(min: number, max: number): number | undefined {
    const whole = this.#whole(BigInt(min), BigInt(max), `a whole number of ${min} to ${max}`);
    return whole === undefined ? undefined : Number(whole);
  }

  requiredInteger(min: number, max: number): number {
    if (this.absent) this.problem('is missing');
    return this.integer(min, max) ?? min;
  }

  uint32(): number | undefined {
    return this.integer(0, UINT32_MAX);
  }

  requiredUint32(): number {
    return this.requiredInteger(0, UINT32_MAX);
  }

  /** As a double: rounded beyond 2^53, where no limit means what it says anyway. */
  int64(): number | undefined {
    const whole = this.#whole(INT64_MIN, INT64_MAX, 'a whole number of 64 bits');
    return whole === undefined ? undefined : Number(whole);
  }

  uint64(): number | undefined {
    const whole = this.exactUint64();
    return whole === undefined ? undefined : Number(whole);
  }

  exactInt64(): bigint | undefined {
    return this.#whole(INT64_MIN, INT64_MAX, 'a whole number of 64 bits');
  }

  exactUint64(): bigint | undefined {
    return this.#whole(0n, UINT64_MAX, 'a whole number of 0 to 2^64-1');
  }
}

/** An object without its undefined members. */
export function defined<T extends object>(object: T): T {
  for (const key of Object.keys(object)) {
    if (Reflect.get(object, key) === undefined) Reflect.deleteProperty(object, key);
  }
  return object;
}
