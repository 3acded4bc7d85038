/**
 * Reading JSON from outside, strictly and with a bound: every reader names the place (`/plugins/0/type`) of what it refuses. The errors are
 * the caller's, so that a configuration and a plugin's answer fail as what they are.
 */
import { readFileSync, statSync } from 'node:fs';

/** Makes the error for `problem` at a JSON pointer. */
export type Refuse = (pointer: string, problem: string) => Error;

export type JsonObject = Readonly<Record<string, unknown>>;

/** Deeper than this nobody's configuration is nested; a recursive reader of ours or of a plugin may not survive more. */
const MAX_DEPTH = 64;

/** One step of a JSON pointer (RFC 6901), escaped. */
export function step(key: string | number): string {
  return `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

/** What a value is instead, as the end of a message. */
function kindOf(value: unknown): string {
  if (value === undefined) return 'and is missing';
  if (value === null) return 'not null';
  if (Array.isArray(value)) return 'not a list';
  return typeof value === 'object' ? 'not an object' : `not a ${typeof value}`;
}

/** Parses `text` as JSON of bounded depth. */
export function parseJson(text: string, refuse: Refuse): unknown {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const char = text.charCodeAt(i);
    if (quoted) {
      if (char === 0x5c) i += 1;
      else if (char === 0x22) quoted = false;
    } else if (char === 0x22) quoted = true;
    else if (char === 0x7b || char === 0x5b) {
      depth += 1;
      if (depth > MAX_DEPTH) throw refuse('', `is nested deeper than ${MAX_DEPTH}`);
    } else if (char === 0x7d || char === 0x5d) depth -= 1;
  }
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch (error) {
    throw refuse('', `is no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Reads a file of at most `limit` bytes. */
export function readBounded(path: string, limit: number, refuse: Refuse): string {
  const { size } = statSync(path);
  if (size > limit) throw refuse('', `has ${size} bytes: more than ${limit} are never meant`);
  return readFileSync(path, 'utf8');
}

export function asObject(value: unknown, at: string, refuse: Refuse): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refuse(at, `must be an object, ${kindOf(value)}`);
  }
  // A plain object of JSON.parse: its values stay unknown until they are read.
  return Object.fromEntries(Object.entries(value));
}

export function asString(value: unknown, at: string, refuse: Refuse): string {
  if (typeof value !== 'string') throw refuse(at, `must be a string, ${kindOf(value)}`);
  if (value.includes('\0')) throw refuse(at, 'must not contain NUL');
  return value;
}

export function asList(value: unknown, at: string, refuse: Refuse): readonly unknown[] {
  if (!Array.isArray(value)) throw refuse(at, `must be a list, ${kindOf(value)}`);
  return value;
}

export function asBoolean(value: unknown, at: string, refuse: Refuse): boolean {
  if (typeof value !== 'boolean') throw refuse(at, `must be true or false, ${kindOf(value)}`);
  return value;
}

/** An integer of `low` to `high`. */
export function asInteger(value: unknown, at: string, refuse: Refuse, low: number, high: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < low || value > high) {
    throw refuse(at, `must be a whole number of ${low} to ${high}`);
  }
  return value;
}

/** Reads a field where it is there; null counts as absent, as Go's decoder takes it. */
export function optional<T>(
  object: JsonObject,
  key: string,
  at: string,
  refuse: Refuse,
  read: (value: unknown, at: string, refuse: Refuse) => T,
): T | undefined {
  const value = object[key];
  return value === undefined || value === null ? undefined : read(value, at + step(key), refuse);
}

export function asStrings(value: unknown, at: string, refuse: Refuse): string[] {
  return asList(value, at, refuse).map((one, i) => asString(one, at + step(i), refuse));
}
