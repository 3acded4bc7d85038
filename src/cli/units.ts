/**
 * Sizes and durations as people type them. Sizes are binary: `K`, `M`, `G`, `T` and `KiB`… are powers of 1024. `GB` is refused,
 * since half of its readers mean 10^9 and the other half 2^30.
 */
import { TvmmError } from '../sys/errors.js';

/** A size or duration that cannot be understood; `code` is BAD_SIZE or BAD_DURATION. */
export class UnitError extends TvmmError {}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  kib: 2 ** 10,
  m: 2 ** 20,
  mib: 2 ** 20,
  g: 2 ** 30,
  gib: 2 ** 30,
  t: 2 ** 40,
  tib: 2 ** 40,
};
const DECIMAL_UNITS = new Set(['kb', 'mb', 'gb', 'tb']);

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  '': 1000,
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
};

function split(text: string): { value: number; unit: string } | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  if (match === null) return undefined;
  return { value: Number(match[1]), unit: (match[2] ?? '').toLowerCase() };
}

/**
 * `512M`, `5G`, `1GiB`, `1.5G` or plain bytes; returns bytes.
 *
 * @param what names the argument in the message, e.g. `--memory`
 * @throws UnitError
 */
export function parseSize(text: string, what = 'the size'): number {
  const refuse = (why: string): never => {
    throw new UnitError(`${what} ${JSON.stringify(text)} ${why}`, {
      code: 'BAD_SIZE',
      hint: 'write a number with K, M, G or T (powers of 1024), e.g. 512M, 5G, 1GiB, or plain bytes',
    });
  };
  const parts = split(text);
  if (parts === undefined) return refuse('is not a size');
  if (DECIMAL_UNITS.has(parts.unit)) return refuse('is ambiguous: it may mean powers of 1000 or of 1024');
  const scale = Object.hasOwn(SIZE_UNITS, parts.unit) ? SIZE_UNITS[parts.unit] : undefined;
  if (scale === undefined) return refuse('has an unknown unit');
  const bytes = parts.value * scale;
  if (bytes > Number.MAX_SAFE_INTEGER) return refuse('is too large');
  if (!Number.isInteger(bytes)) return refuse('is not a whole number of bytes');
  return bytes;
}

/** {@link parseSize} for commander's `argParser`: the option's value is in bytes. */
export function sizeOption(name: string): (text: string) => number {
  return (text) => parseSize(text, name);
}

/** Longer than this and Node's timers wrap around to 1 ms. */
const MAX_DURATION_MS = 2 ** 31 - 1;

/**
 * `30` (seconds), `30s`, `1500ms`, `2m`, `1m30s`, `1h`; returns milliseconds, at most 24 days.
 *
 * @param what names the argument in the message, e.g. `--timeout`
 * @throws UnitError
 */
export function parseDuration(text: string, what = 'the duration'): number {
  const refuse = (why: string): never => {
    throw new UnitError(`${what} ${JSON.stringify(text)} ${why}`, {
      code: 'BAD_DURATION',
      hint: 'write seconds, or a number with ms, s, m or h, e.g. 30, 1500ms, 2m',
    });
  };
  // Go's way of writing: `1m30s`.
  const words = /^(?:\d+(?:\.\d+)?[a-z]+){2,}$/i.test(text) ? (text.match(/[\d.]+[a-z]+/gi) ?? []) : [text];
  let sum = 0;
  for (const word of words) {
    const parts = split(word);
    if (parts === undefined) return refuse('is not a duration');
    const scale = Object.hasOwn(DURATION_UNITS, parts.unit) ? DURATION_UNITS[parts.unit] : undefined;
    if (scale === undefined) return refuse('has an unknown unit');
    sum += parts.value * scale;
  }
  const ms = Math.round(sum);
  if (ms > MAX_DURATION_MS) return refuse('is too long');
  return ms;
}

/** {@link parseDuration} for commander's `argParser`: the option's value is in milliseconds. */
export function durationOption(name: string): (text: string) => number {
  return (text) => parseDuration(text, name);
}

/** A whole number in a range, for options such as `--cpus`. @throws UnitError */
export function parseCount(text: string, what: string, minimum: number, maximum: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= minimum && value <= maximum) return value;
  throw new UnitError(`${what} ${JSON.stringify(text)} is not a whole number from ${minimum} to ${maximum}`, {
    code: 'BAD_NUMBER',
  });
}

/** Bytes for people: `1.5 GiB`. Exact multiples carry no fraction. */
export function formatSize(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  let value = bytes;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[at]}`;
}
