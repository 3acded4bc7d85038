/** Values in templates: fields, truth, functions and how Go prints things. A Map is a table with free keys, an object has the fields that it has. */
import { UsageError } from '../usage-error.js';

function refuse(what: string): never {
  throw new UsageError(`--format: ${what}`);
}

/** Follows a path of fields. A table's missing key is no value, an object's missing field an error. @throws UsageError */
export function lookUp(from: unknown, path: readonly string[]): unknown {
  let value = from;
  for (const name of path) {
    if (value === undefined || value === null) return undefined;
    if (value instanceof Map) value = value.get(name);
    else if (typeof value === 'object' && !Array.isArray(value)) {
      const members = new Map<string, unknown>(Object.entries(value));
      if (!members.has(name))
        refuse(`there is no field ${name}; there are ${[...members.keys()].slice(0, 60).join(', ')}`);
      value = members.get(name);
    } else refuse(`there is no field ${name} in ${shown(value)}`);
  }
  return value;
}

export function isTruthy(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Map) return value.size > 0;
  return Boolean(value);
}

/** As fmt.Print of Go has it. */
export function shown(value: unknown): string {
  if (value === undefined || value === null) return '<no value>';
  if (Array.isArray(value)) return `[${value.map(shown).join(' ')}]`;
  if (value instanceof Map)
    return `map[${[...value]
      .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1))
      .map(([key, one]) => `${shown(key)}:${shown(one)}`)
      .join(' ')}]`;
  if (typeof value === 'object') return `{${Object.values(value).map(shown).join(' ')}}`;
  return String(value);
}

/** JSON in one line; tables are objects. */
function templateJson(value: unknown): string {
  return JSON.stringify(value ?? null, (_key, one: unknown) =>
    one instanceof Map ? Object.fromEntries(one) : typeof one === 'bigint' ? Number(one) : one,
  );
}

const text = (value: unknown) => shown(value);
const list = (value: unknown): unknown[] =>
  Array.isArray(value) ? value : refuse(`${shown(value)} is no list`);

function index(value: unknown, ...keys: unknown[]): unknown {
  return keys.reduce<unknown>((at, key) => {
    if (Array.isArray(at)) {
      const found: unknown = at[Number(key)];
      return found === undefined ? refuse(`there is no element ${shown(key)}`) : found;
    }
    if (at instanceof Map) return at.get(String(key));
    return at === undefined || at === null ? undefined : lookUp(at, [String(key)]);
  }, value);
}

function length(value: unknown): number {
  if (Array.isArray(value) || typeof value === 'string') return value.length;
  if (value instanceof Map) return value.size;
  return value === undefined || value === null ? 0 : Object.keys(Object(value)).length;
}

function printf(format: unknown, ...values: unknown[]): string {
  const left = [...values];
  return text(format).replace(/%(-?\d*)([sdvqt%])/g, (_, width: string, verb: string) => {
    if (verb === '%') return '%';
    const value = left.shift();
    const plain = verb === 'q' ? JSON.stringify(text(value)) : text(value);
    const columns = Math.abs(Number(width));
    return width.startsWith('-') ? plain.padEnd(columns) : plain.padStart(columns);
  });
}

function firstOrLast(values: readonly unknown[], wanted: (value: unknown) => boolean): unknown {
  const found = values.findIndex(wanted);
  return values.at(found);
}

const FUNCTIONS: Readonly<Record<string, (...values: unknown[]) => unknown>> = {
  json: (value) => templateJson(value),
  index,
  len: length,
  join: (value, separator) => list(value).map(text).join(text(separator)),
  split: (value, separator) => text(value).split(text(separator)),
  upper: (value) => text(value).toUpperCase(),
  lower: (value) => text(value).toLowerCase(),
  title: (value) => text(value).replace(/\b[a-z]/g, (letter) => letter.toUpperCase()),
  truncate: (value, size) => text(value).slice(0, Number(size)),
  pad: (value, before, after) => `${' '.repeat(Number(before))}${text(value)}${' '.repeat(Number(after))}`,
  print: (...values) => values.map(text).join(''),
  println: (...values) => `${values.map(text).join(' ')}\n`,
  printf,
  eq: (value, ...others) => others.some((one) => one === value || text(one) === text(value)),
  ne: (value, other) => text(value) !== text(other),
  lt: (value, other) => Number(value) < Number(other),
  gt: (value, other) => Number(value) > Number(other),
  not: (value) => !isTruthy(value),
  and: (...values) => firstOrLast(values, (one) => !isTruthy(one)),
  or: (...values) => firstOrLast(values, isTruthy),
};

/** @throws UsageError for a function that is not known */
export function callFunction(name: string, values: readonly unknown[]): unknown {
  const found = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
  if (found === undefined)
    return refuse(`there is no function ${name}; there are ${Object.keys(FUNCTIONS).join(', ')}`);
  return found(...values);
}
