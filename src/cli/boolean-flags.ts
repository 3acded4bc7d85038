/**
 * `--rm=true`, `-t=false`: how docker's and podman's users write flags that take no value. commander refuses a value there, so that these words
 * are put into its way of writing before it reads them: the flag alone, its `--no-` form, or nothing.
 */
import type { Command, Option } from 'commander';

const SWITCH = /^(--?[a-zA-Z][a-zA-Z0-9-]*)=(true|false|1|0)$/;

/** The command that a line is for, and where its own words begin. */
function commandOf(program: Command, args: readonly string[]): { command: Command; from: number } {
  let command = program;
  let from = 0;
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? '';
    if (word === '--') break;
    if (word.startsWith('-')) {
      if (takesNext(command, word)) at++;
      continue;
    }
    const child = command.commands.find((one) => one.name() === word || one.aliases().includes(word));
    if (child === undefined) break;
    command = child;
    from = at + 1;
  }
  return { command, from };
}

function optionOf(command: Command, name: string): Option | undefined {
  return command.options.find(({ long, short }) => long === name || short === name);
}

/** Whether the word behind this one is its value. Of letters in one word (`-it`) only the last one may have a value. */
function takesNext(command: Command, word: string): boolean {
  if (word.includes('=')) return false;
  const name = /^-[a-zA-Z]{2,}$/.test(word) ? `-${word.at(-1)}` : word;
  return optionOf(command, name)?.required === true;
}

/** The same command line in commander's way. What is no switch of the command is left as it is, and so is what belongs to the container. */
export function withSwitches(program: Command, args: readonly string[]): string[] {
  if (!args.some((word) => SWITCH.test(word))) return [...args];
  const { command, from } = commandOf(program, args);
  const written = args.slice(0, from);
  for (let at = from; at < args.length; at++) {
    const word = args[at] ?? '';
    if (word === '--' || !word.startsWith('-')) return [...written, ...args.slice(at)];
    const [, name = '', value = ''] = SWITCH.exec(word) ?? [];
    written.push(...(name === '' ? [word] : switchWords(command, word, name, /^(true|1)$/.test(value))));
    const next = args[at + 1];
    if (takesNext(command, word) && next !== undefined) {
      written.push(next);
      at++;
    }
  }
  return written;
}

function switchWords(command: Command, word: string, name: string, on: boolean): string[] {
  const option = optionOf(command, name);
  if (option !== undefined) return option.required || option.optional ? [word] : on ? [name] : [];
  // `--sig-proxy=false` where the option is --no-sig-proxy.
  const negated = optionOf(command, name.replace(/^--/, '--no-'));
  if (name.startsWith('--') && negated !== undefined) return on ? [] : [negated.long ?? word];
  return [word];
}
