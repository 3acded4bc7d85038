/**
 * The flags of an OCI runtime's command line, parsed from a table as runc's clients write them: `--name value`, `--name=value`, one dash or
 * two, before or between the arguments. No library: this runs on the way to every container. Flags that the table has not are refused.
 */
import { UsageError } from './usage-error.js';

export type FlagKind = 'boolean' | 'text' | 'list' | 'integer' | 'duration';

export interface Flag {
  readonly name: string;
  readonly short?: string;
  readonly kind: FlagKind;
  readonly help: string;
  /** Taken, but not told: obsolete ones that clients still pass. */
  readonly hidden?: boolean;
}

/** What was given. Flags that were not given are false, undefined or empty. */
export class FlagValues {
  readonly #values = new Map<string, string[]>();

  add(name: string, value: string): void {
    this.#values.set(name, [...(this.#values.get(name) ?? []), value]);
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** The last one given counts, as in runc. */
  text(name: string): string | undefined {
    return this.#values.get(name)?.at(-1);
  }

  /** As {@link text}, where the empty text says nothing. */
  words(name: string): string | undefined {
    const text = this.text(name);
    return text === '' ? undefined : text;
  }

  flag(name: string): boolean {
    return this.text(name) === 'true';
  }

  list(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  integer(name: string): number | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : Number(text);
  }

  /** Milliseconds. */
  duration(name: string): number | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : milliseconds(text);
  }
}

export interface ParsedLine {
  readonly values: FlagValues;
  readonly args: readonly string[];
}

/** Where arguments end the flags: after the first so many, `exec` and `ps` pass on what looks like flags. */
export interface ParseOptions {
  readonly stopAfterArguments?: number;
}

/** @throws UsageError for a flag that is unknown, lacks its value or has a wrong one */
export function parseFlags(
  flags: readonly Flag[],
  line: readonly string[],
  { stopAfterArguments = Number.POSITIVE_INFINITY }: ParseOptions = {},
): ParsedLine {
  const values = new FlagValues();
  const args: string[] = [];
  for (let at = 0; at < line.length; at++) {
    const word = line[at] ?? '';
    if (args.length >= stopAfterArguments || word === '--' || word.length < 2 || !word.startsWith('-')) {
      if (word === '--' && args.length < stopAfterArguments) {
        args.push(...line.slice(at + 1));
        break;
      }
      args.push(word);
      continue;
    }
    const [, name = '', given] = /^--?([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    const flag = flags.find((one) => one.name === name || one.short === name);
    if (flag === undefined) throw new UsageError(`flag provided but not defined: -${name}`);
    let value = given;
    if (value === undefined) {
      if (flag.kind === 'boolean') value = 'true';
      else {
        at++;
        value = line[at];
        if (value === undefined) throw new UsageError(`flag needs an argument: -${name}`);
      }
    }
    values.add(flag.name, checked(flag, name, value));
  }
  return { values, args };
}

function checked(flag: Flag, name: string, value: string): string {
  const refuse = (what: string): never => {
    throw new UsageError(`invalid value ${JSON.stringify(value)} for flag -${name}: ${what}`);
  };
  switch (flag.kind) {
    case 'boolean':
      // What Go's strconv.ParseBool takes.
      if (['true', '1', 't', 'T', 'TRUE', 'True'].includes(value)) return 'true';
      if (['false', '0', 'f', 'F', 'FALSE', 'False'].includes(value)) return 'false';
      return refuse('true or false is expected');
    case 'integer':
      return /^[+-]?[0-9]{1,15}$/.test(value) ? value : refuse('a whole number is expected');
    case 'duration':
      return milliseconds(value) === undefined
        ? refuse('a duration like 500ms, 5s or 1m30s is expected')
        : value;
    default:
      return value.includes('\0') ? refuse('it holds a NUL character') : value;
  }
}

const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** A duration as Go writes them: `1m30s`, `500ms`, `0`. Undefined for anything else. */
export function milliseconds(text: string): number | undefined {
  if (/^[+-]?0$/.test(text)) return 0;
  const match = /^([+-]?)((?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+)$/.exec(text);
  if (match === null) return undefined;
  let sum = 0;
  for (const [, number = '0', unit = 's'] of (match[2] ?? '').matchAll(
    /([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|s|m|h)/g,
  ))
    sum += Number(number) * (UNITS[unit] ?? 0);
  return match[1] === '-' ? -sum : sum;
}
