/**
 * The commander program: global options, help, and how its own complaints look. Commands are added from the table, whole or as
 * stubs that only the help and the suggestions need.
 */
import { Command, Option } from 'commander';
import type { CommandEntry } from './commands.js';
import { printError, printOut } from './engine/here.js';
import { LOG_LEVELS, type LogLevel, setLogLevel } from './log.js';

/** Exit status of tvmm's own failures, the command line's included; guests and containers have the others. */
export const EXIT_FAILURE = 125;

/** What the global options said, for the error boundary. */
export interface GlobalState {
  debug: boolean;
}

const EXAMPLES = `
Examples:
  tvmm run -it --rm debian                   a shell in a container
  tvmm run -d --name web -p 8080:80 nginx    a server in the background; then tvmm ps, logs, exec, stop
  tvmm boot                                  boot the default guest to a shell
  tvmm boot --run 'uname -r; nproc'          run a command in it; its exit status is ours
  tvmm boot --kernel vmlinux --memory 1G     boot your own kernel
  tvmm lab -- tvmm doctor                    run a command on an emulated AMD-V machine
  tvmm doctor                                what this host can do

Docker's other words are taken too: images, pull, push, rmi, load, save, tag, history, import (tvmm image …), info (tvmm system info) and
container ….

Exit status: the guest's own where there is one; 0 after a clean power-off; ${EXIT_FAILURE} when tvmm itself fails,
a wrong command line included.`;

/** A program without commands. */
export function createProgram(version: string, state: GlobalState): Command {
  const program = new Command('tvmm')
    .description('A KVM virtual machine monitor and a container engine in TypeScript.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show this help')
    .helpCommand(false)
    .usage('[options] COMMAND …')
    .exitOverride()
    .enablePositionalOptions()
    .showHelpAfterError('Run tvmm --help for the commands and their options.')
    .configureOutput({
      writeOut: printOut,
      writeErr: printError,
      outputError: (text, write) => write(text.replace(/^error: /, 'tvmm: ')),
    })
    .addHelpText('after', EXAMPLES);
  for (const option of globalOptions()) program.addOption(option);
  program.hook('preAction', (_program, action) => {
    const options: { debug?: boolean; logLevel?: LogLevel } = action.optsWithGlobals();
    state.debug = options.debug === true;
    if (options.logLevel !== undefined) setLogLevel(options.logLevel);
  });
  return program;
}

function globalOptions(): Option[] {
  return [
    new Option('--debug', 'show stack traces of failures'),
    new Option('--log-level <level>', 'write JSON logs of this level and above to stderr').choices(
      LOG_LEVELS,
    ),
  ];
}

/** Adds the whole command. The global options are taken behind its name too, where people write them. */
export async function addCommand(program: Command, entry: CommandEntry): Promise<void> {
  const before = new Set(program.commands);
  (await entry.load()).register(program);
  const withGlobals = (command: Command, path: string): void => {
    command.showHelpAfterError(`Run ${path} --help for what it takes.`);
    for (const option of globalOptions()) {
      if (command.options.every(({ long }) => long !== option.long)) command.addOption(option.hideHelp());
    }
    for (const child of command.commands) withGlobals(child, `${path} ${child.name()}`);
  };
  for (const command of program.commands)
    if (!before.has(command)) withGlobals(command, `${program.name()} ${command.name()}`);
}

/** Adds the commands' names and summaries: enough for the help and for suggestions. */
export function addStubs(program: Command, commands: readonly CommandEntry[]): void {
  for (const { name, summary, group } of commands) {
    program.command(name).description(summary).helpGroup(group).usage('[options]').allowUnknownOption();
  }
}
