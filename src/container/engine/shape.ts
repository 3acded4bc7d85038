/**
 * Shapes of JSON documents that the engine keeps on disk: a shape is a parser and, by inference, the type that it gives. Unknown members
 * are dropped; what does not fit is refused with its place in the document.
 */
import { RecordError } from './errors.js';

/** Reads a value at `path`, or throws {@link RecordError}. */
export type Shape<T> = (value: unknown, path: string) => T;

/** The type that a shape gives. */
export type Infer<S> = S extends Shape<infer T> ? T : never;

function refuse(path: string, what: string): never {
  throw new RecordError(`${path} must be ${what}`, {
    code: 'RECORD_INVALID',
    hint: 'the file was not written by this tvmm; remove the container with `tvmm rm -f`, or restore the file',
  });
}

export const text: Shape<string> = (value, path) =>
  typeof value === 'string' ? value : refuse(path, 'a string');

export const flag: Shape<boolean> = (value, path) =>
  typeof value === 'boolean' ? value : refuse(path, 'true or false');

export const number: Shape<number> = (value, path) =>
  typeof value === 'number' && Number.isFinite(value) ? value : refuse(path, 'a number');

export function oneOf<const T extends string>(...values: readonly T[]): Shape<T> {
  return (value, path) => values.find((one) => one === value) ?? refuse(path, `one of ${values.join(', ')}`);
}

export function list<T>(item: Shape<T>): Shape<readonly T[]> {
  return (value, path) =>
    Array.isArray(value)
      ? value.map((one: unknown, index) => item(one, `${path}[${index}]`))
      : refuse(path, 'a list');
}

/** An object whose keys are free. */
export function table<T>(item: Shape<T>): Shape<Readonly<Record<string, T>>> {
  return (value, path) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, item(one, `${path}.${key}`)]))
      : refuse(path, 'an object');
}

/** Absent, and JSON's null, become undefined. */
export function optional<T>(shape: Shape<T>): Shape<T | undefined> {
  return (value, path) => (value === undefined || value === null ? undefined : shape(value, path));
}

/** Absent becomes `fallback`: for members that older records do not have. */
export function withDefault<T>(shape: Shape<T>, fallback: T): Shape<T> {
  return (value, path) => (value === undefined || value === null ? fallback : shape(value, path));
}

type Fields = Readonly<Record<string, Shape<unknown>>>;
type OptionalKeys<F extends Fields> = {
  [K in keyof F]: undefined extends Infer<F[K]> ? K : never;
}[keyof F];

/** The object of these members; those that may be undefined may be absent. */
export type ObjectOf<F extends Fields> = {
  readonly [K in Exclude<keyof F, OptionalKeys<F>>]: Infer<F[K]>;
} & { readonly [K in OptionalKeys<F>]?: Infer<F[K]> };

export function object<F extends Fields>(fields: F): Shape<ObjectOf<F>> {
  return (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return refuse(path, 'an object');
    const members = new Map<string, unknown>(Object.entries(value));
    const read: Record<string, unknown> = {};
    for (const [name, shape] of Object.entries(fields)) {
      const found = shape(members.get(name), path === '' ? name : `${path}.${name}`);
      if (found !== undefined) read[name] = found;
    }
    // Every member was read by its own shape: this is what ObjectOf says.
    return read as ObjectOf<F>;
  };
}

/** Parses a document. @param name the file, for messages */
export function parseDocument<T>(shape: Shape<T>, json: string, name: string): T {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new RecordError(`${name} is not JSON`, { code: 'RECORD_INVALID', cause: error });
  }
  return shape(value, name);
}
