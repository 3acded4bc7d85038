/** What the container commands share: opening the engine, option parsers, and acting on several containers one after the other. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { EngineContext } from '../../container/engine/context.js';
import { ContainerNotFoundError, StartError } from '../../container/engine/errors.js';
import type { ContainerRecord } from '../../container/engine/record.js';
import { escaped, escapedJson } from '../../sys/errors.js';
import { failureText } from '../report.js';
import { parseSize } from '../units.js';
import { UsageError } from '../usage-error.js';
import { callersFile, exitWith, here, printError, printOut } from './here.js';

/** The engine of TVMM_ROOT and TVMM_RUN. */
export async function engine(): Promise<EngineContext> {
  if (process.geteuid?.() !== 0) {
    throw new UsageError(
      'containers need root: this user may not make cgroups and mounts',
      'run it with sudo',
    );
  }
  return here().open();
}

/** For options that may be given several times. */
export function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** `512m`, `-1` for none. */
export function memoryOption(name: string): (text: string) => number {
  return (text) => (text === '-1' ? -1 : parseSize(text, name));
}

export function numberOption(name: string): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value))
      throw new UsageError(`${name} ${JSON.stringify(text)} is not a number`);
    return value;
  };
}

export function integerOption(name: string): (text: string) => number {
  return (text) => {
    if (/^-?\d{1,10}$/.test(text)) return Number(text);
    throw new UsageError(`${name} ${JSON.stringify(text)} is not a whole number`);
  };
}

/** `--format json` as well as `--json`. */
export function withJson(command: Command): Command {
  return command
    .option('--json', 'print JSON')
    .option('--format <format>', 'json is the same as --json', (text) => {
      if (text === 'json') return text;
      throw new UsageError(`--format ${text} is not known`, 'use --format json and a tool such as jq');
    });
}

export function wantsJson(options: { json?: boolean; format?: string }): boolean {
  return options.json === true || options.format === 'json';
}

export function printJson(value: unknown): void {
  const plain = (_key: string, one: unknown) => (typeof one === 'bigint' ? Number(one) : one);
  printOut(`${escapedJson(JSON.stringify(value, plain, 2))}\n`);
}

/** Does the same to each container and prints its name; one that fails does not keep the others from it. */
export async function each(
  words: readonly string[],
  action: (context: EngineContext, id: string) => Promise<unknown>,
  {
    quiet = false,
    missingIsFine = false,
    find = (context: EngineContext, word: string) => context.store.resolve(word),
  } = {},
): Promise<void> {
  const context = await engine();
  for (const word of words) {
    try {
      await action(context, find(context, word));
      if (!quiet) printOut(`${word}\n`);
    } catch (error) {
      printError(failureText(error, false));
      const isMissing = error instanceof ContainerNotFoundError && error.code === 'CONTAINER_NOT_FOUND';
      if (!(missingIsFine && isMissing)) exitWith(1);
    }
  }
}

/** Names of containers, or `--all`. */
export function withTargets(command: Command): Command {
  return command.argument('[container...]', 'names or ids').option('-a, --all', 'all that it can be done to');
}

/** {@link each} for the containers that are named or, with `--all`, for all in these states. @throws UsageError for neither and both */
export async function eachTarget(
  words: readonly string[],
  { all = false }: { readonly all?: boolean },
  states: readonly ContainerRecord['state'][],
  action: (context: EngineContext, id: string) => Promise<unknown>,
  how: { readonly missingIsFine?: boolean } = {},
): Promise<void> {
  if (all && words.length > 0) throw new UsageError('--all takes no names');
  if (!all && words.length === 0)
    throw new UsageError('there is no container named', 'name one, or use --all');
  if (!all) return each(words, action, how);
  const context = await engine();
  const { current } = await import('../../container/engine/wait.js');
  const names: string[] = [];
  // Members before their pods.
  const records = context.store.all().sort((a, b) => Number(a.options.pause) - Number(b.options.pause));
  for (const { id } of records) {
    const record = await current(context, id);
    if (record !== undefined && states.includes(record.state)) names.push(record.name);
  }
  return each(names, action);
}

/** Reports a container that cannot be started with docker's exit statuses: 125, 126, 127. */
export async function withStartStatus(action: () => Promise<void>, debug = false): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    printError(failureText(error, debug));
    exitWith(error.exitCode);
  }
}

/** `-e` words: NAME alone takes the caller's value, and is nothing where the caller has none. */
export function resolveEnvironment(words: readonly string[]): string[] {
  return words.flatMap((entry) => {
    if (entry.includes('=')) return [entry];
    const value = here().variables[entry];
    return value === undefined ? [] : [`${entry}=${value}`];
  });
}

/** A file that the user names in an option. @throws UsageError */
export function readOptionFile(option: string, file: string): string {
  try {
    return readFileSync(callersFile(file), 'utf8');
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new UsageError(`${option} ${file} cannot be read: ${why}`);
  }
}

/** `3 minutes`, as ps shows ages. */
export function age(since: string | undefined, now = Date.now()): string {
  if (since === undefined) return '';
  const seconds = Math.max(0, Math.floor((now - Date.parse(since)) / 1000));
  for (const [size, unit] of [
    [86_400, 'day'],
    [3600, 'hour'],
    [60, 'minute'],
  ] as const) {
    const count = Math.floor(seconds / size);
    if (count >= 1) return `${count} ${unit}${count === 1 ? '' : 's'}`;
  }
  return `${seconds} second${seconds === 1 ? '' : 's'}`;
}

/** Columns as wide as their widest cell. What stands in the cells is often a container's or an image's: it steers no terminal. */
export function table(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map(escaped));
  const widths = rows.reduce<number[]>(
    (all, row) => row.map((cell, i) => Math.max(all[i] ?? 0, cell.length)),
    [],
  );
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join('   ')
          .trimEnd()}\n`,
    )
    .join('');
}
