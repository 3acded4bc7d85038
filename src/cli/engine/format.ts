/**
 * `--format` and `--json` of commands that print a list: JSON in tvmm's own shape, or a template that is filled with each item, whose fields are
 * docker's; `table` in front of a template prints columns with a title line.
 */
import type { Command } from 'commander';
import { printJson, table } from './common.js';
import { printOut } from './here.js';
import { parseTemplate } from './template.js';

export interface FormatFlags {
  readonly json?: boolean;
  readonly format?: string;
}

/** @param fields that templates can use, for the help */
export function withFormat(command: Command, fields: readonly string[]): Command {
  return command
    .option('--json', 'print JSON')
    .option('--format <format>', `json, or a template of ${fields.map((name) => `{{.${name}}}`).join(' ')}`);
}

/** `RunningFor` as a title: `RUNNING FOR`. */
function title(field: string): string {
  return field.replace(/([a-z])([A-Z])/g, '$1 $2').toUpperCase();
}

/**
 * Prints a list as its user wants it.
 *
 * @param own the items in tvmm's shape, for JSON
 * @param rows the items as templates see them, with the members that the help names
 * @returns whether anything was asked for
 */
export function printFormatted(
  { json, format }: FormatFlags,
  own: () => unknown,
  rows: () => readonly unknown[],
): boolean {
  if (json === true || format === 'json') {
    printJson(own());
    return true;
  }
  if (format === undefined) return false;
  const inTable = /^table\s+(.*)$/s.exec(format)?.[1];
  const fill = parseTemplate(inTable ?? format);
  const lines = rows().map((row) => fill(row));
  if (inTable === undefined) printOut(lines.map((line) => `${line}\n`).join(''));
  else {
    const titles = inTable
      .replaceAll('\\t', '\t')
      .split('\t')
      .map((cell) => title(/\.(\w+)\s*\}\}/.exec(cell)?.[1] ?? ''));
    printOut(table([titles, ...lines.map((line) => line.split('\t'))]));
  }
  return true;
}
