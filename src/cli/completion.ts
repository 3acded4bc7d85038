/**
 * `tvmm completion SHELL`: a completion script generated from the commander tree, so that it can never lag behind the options.
 * Options whose argument is a path complete files; choices complete themselves.
 */
import { Argument, type Command, Option } from 'commander';
import { ALIASES } from './aliases.js';
import { COMMANDS } from './commands.js';
import { NOT_SUPPORTED } from './engine/create-flags.js';
import { addCommand, createProgram } from './program.js';

/** One command of the tree, as the generators need it. */
export interface CompletionNode {
  /** Names from the program down, e.g. `['image', 'build']`; empty for the program. */
  readonly path: readonly string[];
  readonly summary: string;
  /** What its arguments name. */
  readonly names: readonly NamedThing[];
  readonly options: readonly CompletionOption[];
  readonly commands: readonly CompletionNode[];
}

export interface CompletionOption {
  /** `--kernel`, and `-k` where there is one. */
  readonly names: readonly string[];
  readonly summary: string;
  /** What follows the option. */
  readonly value: 'none' | 'file' | 'any' | readonly string[];
}

/** What the engine keeps the names of, as placeholders of arguments have it. */
export type NamedThing = 'container' | 'pod' | 'image' | 'volume' | 'network';

/** Placeholders of arguments that are paths: `<file>`, `<kernel-file>`, `<dir>`, `<path,ro>`. */
const PATH_PLACEHOLDER = /[<[][^>\]]*(file|path|dir|folder)/i;

/** The tree below `command`. Hidden commands are left out; hidden options are not: the global ones are, to keep helps short. */
export function completionTree(command: Command, path: readonly string[] = []): CompletionNode {
  const help = command.createHelp();
  const known = command.options.filter(({ description }) => description !== NOT_SUPPORTED);
  const hasH = known.some(({ short }) => short === '-h');
  const options = [...known, new Option(hasH ? '--help' : '-h, --help', 'show help')].map((option) => ({
    names: [option.long, option.short].filter((name) => name !== undefined),
    summary: option.description,
    value: optionValue(option),
  }));
  return {
    path,
    summary: help.subcommandDescription(command),
    names: NAMED_THINGS.filter((thing) =>
      command.registeredArguments.some((argument) => argument.name() === thing),
    ),
    options,
    commands: help
      .visibleCommands(command)
      .filter((child) => child.name() !== 'help')
      .map((child) => completionTree(child, [...path, child.name()])),
  };
}

/** The tree with docker's other words for commands in it. */
export function withAliases(root: CompletionNode): CompletionNode {
  const find = (path: readonly string[]) =>
    path.reduce<CompletionNode | undefined>(
      (node, name) => node?.commands.find((child) => child.path.at(-1) === name),
      root,
    );
  const aliases = Object.entries(ALIASES).flatMap(([name, path]) => {
    const node = find(path);
    return node === undefined ? [] : [{ ...node, path: [name] }];
  });
  return { ...root, commands: [...root.commands, ...aliases] };
}

function optionValue(option: Option): CompletionOption['value'] {
  if (!option.required && !option.optional) return 'none';
  if (option.argChoices !== undefined) return option.argChoices;
  return PATH_PLACEHOLDER.test(option.flags) ? 'file' : 'any';
}

function flatten(node: CompletionNode): CompletionNode[] {
  return [node, ...node.commands.flatMap(flatten)];
}

/** Single-quoted for any of the shells; a quote within becomes a typographic one, since it is prose. */
function quote(text: string): string {
  return `'${text.replaceAll("'", '’').replaceAll('\n', ' ')}'`;
}

const namesOf = (node: CompletionNode) => node.commands.map(({ path }) => path.at(-1) ?? '');

/** Prints names that the engine keeps, from its files: quicker than asking it. `$root` is one of its folders. */
const NAMES: Readonly<Record<NamedThing, string>> = {
  container: 'ls "$root/engine/names"',
  pod: 'ls "$root/engine/names"',
  image: String.raw`sed -En "s,.*\"name\":\"(docker\.io/(library/)?)?([^\"]*)\".*,\3,p" "$root"/images/*.json`,
  volume: 'ls "$root/volumes"',
  network: 'ls "$root/networks" | sed -n "s/\\.json$//p"',
};
const NAMED_THINGS = Object.keys(NAMES).filter((name): name is NamedThing => Object.hasOwn(NAMES, name));

/** For any shell: a program of its own. */
function namesCommand(things: readonly NamedThing[]): string {
  const lists = [...new Set(things.map((thing) => NAMES[thing]))].join('; ');
  return `for root in "\${TVMM_ROOT:-/var/lib/tvmm}" "\${XDG_DATA_HOME:-$HOME/.local/share}/tvmm"; do ${lists}; done 2>/dev/null`;
}

/** A bash function that walks the words to find the command, then offers its options, subcommands or files. */
export function bashCompletion(root: CompletionNode): string {
  const nodes = flatten(root);
  const walk = nodes.flatMap((node) =>
    namesOf(node).map(
      (name) =>
        `      ${quote(`${node.path.join(' ')}:${name}`)}) at=${quote([...node.path, name].join(' '))} ;;`,
    ),
  );
  const values = nodes.flatMap((node) =>
    node.options.flatMap(({ names, value }) => {
      if (value === 'none') return [];
      const action =
        value === 'file'
          ? 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$current"))'
          : value === 'any'
            ? 'COMPREPLY=()'
            : `COMPREPLY=($(compgen -W ${quote(value.join(' '))} -- "$current"))`;
      return [
        `    ${names.map((name) => quote(`${node.path.join(' ')}:${name}`)).join('|')}) ${action}; return ;;`,
      ];
    }),
  );
  const named = nodes
    .filter(({ names }) => names.length > 0)
    .map(
      ({ path, names }) =>
        `    ${quote(path.join(' '))}) COMPREPLY=($(compgen -W "$(${namesCommand(names)})" -- "$current")) ;;`,
    );
  const words = nodes.map((node) => {
    const all = [...namesOf(node), ...node.options.flatMap(({ names }) => names)];
    return `    ${quote(node.path.join(' '))}) words=${quote(all.join(' '))} ;;`;
  });
  return `# bash completion of tvmm: source <(tvmm completion bash)
_tvmm() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} at='' words='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ \${COMP_WORDS[i]} == -- ]] && { compopt -o default; return; }
    case "$at:\${COMP_WORDS[i]}" in
${walk.join('\n')}
    esac
  done
  case "$at:$previous" in
${values.join('\n')}
  esac
  case $at in
${words.join('\n')}
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    local plain='' word
    for word in $words; do [[ $word == -* ]] || plain+=" $word"; done
    if [[ -n $plain ]]; then COMPREPLY=($(compgen -W "$plain" -- "$current")); return; fi
    case $at in
${named.join('\n')}
    *) compopt -o default ;;
    esac
  fi
}
complete -F _tvmm tvmm
`;
}

/** zsh takes bash's function through bashcompinit, which is part of zsh. */
function zshCompletion(root: CompletionNode): string {
  return `#compdef tvmm
# zsh completion of tvmm: source <(tvmm completion zsh)
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
autoload -Uz bashcompinit && bashcompinit
${bashCompletion(root).replace(/^#.*\n/, '')}`;
}

/** A word within a quoted word of fish. */
const fishQuote = (text: string): string => `\\'${text.replaceAll('\\', '\\\\\\\\')}\\'`;

/** One \`complete\` line an option and a subcommand. */
export function fishCompletion(root: CompletionNode): string {
  const lines = ['# fish completion of tvmm: tvmm completion fish | source', 'complete -c tvmm -f'];
  for (const node of flatten(root)) {
    const here = node.path.map((name) => `__fish_seen_subcommand_from ${name}`);
    const children = namesOf(node);
    const none = children.length === 0 ? [] : [`not __fish_seen_subcommand_from ${children.join(' ')}`];
    const onlyHere = [...here, ...none].join('; and ');
    const condition = onlyHere === '' ? '' : ` -n ${quote(onlyHere)}`;
    for (const child of node.commands)
      lines.push(`complete -c tvmm${condition} -a ${child.path.at(-1)} -d ${quote(child.summary)}`);
    if (node.names.length > 0)
      lines.push(`complete -c tvmm${condition} -a '(sh -c ${fishQuote(namesCommand(node.names))})'`);
    for (const { names, summary, value } of node.options) {
      const flags = names.map((name) =>
        name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
      );
      const argument =
        value === 'none'
          ? ''
          : value === 'file'
            ? ' -r -F'
            : value === 'any'
              ? ' -x'
              : ` -x -a ${quote(value.join(' '))}`;
      lines.push(`complete -c tvmm${condition} ${flags.join(' ')}${argument} -d ${quote(summary)}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

const GENERATORS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion };

export function register(program: Command): void {
  program
    .command('completion')
    .description('print the completion script for a shell')
    .addArgument(new Argument('<shell>', 'the shell to complete in').choices(Object.keys(GENERATORS)))
    .addHelpText('after', '\nExample:\n  source <(tvmm completion bash)     in ~/.bashrc')
    .action(async (shell: keyof typeof GENERATORS) => {
      const whole = createProgram('', { debug: false });
      for (const entry of COMMANDS) await addCommand(whole, entry);
      process.stdout.write(GENERATORS[shell](withAliases(completionTree(whole))));
    });
}
