/** The help of `tvmm-oci`, from its tables. */
import type { Flag } from './oci-flags.js';
import { COMMANDS, GLOBAL_FLAGS, type OciCommand } from './oci-table.js';

function flagLines(flags: readonly Flag[]): string {
  const shown = flags.filter((flag) => flag.hidden !== true);
  const left = shown.map(({ name, short, kind }) => {
    const value = kind === 'boolean' ? '' : ' VALUE';
    return `--${name}${value}${short === undefined ? '' : `, -${short}${value}`}`;
  });
  const width = Math.max(...left.map(({ length }) => length));
  return shown.map(({ help }, at) => `  ${(left[at] ?? '').padEnd(width)}  ${help}\n`).join('');
}

export function programHelp(program: string): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  const commands = COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}\n`).join('');
  return `NAME:
  ${program} - Open Container Initiative runtime; the command line is runc's

USAGE:
  ${program} [global options] COMMAND [options] [arguments...]

COMMANDS:
${commands}
GLOBAL OPTIONS:
${flagLines(GLOBAL_FLAGS)}
Exit status: the container's own for run, and for exec without --detach; 1 for a failure, 255 for one of exec.
`;
}

export function commandHelp(program: string, command: OciCommand): string {
  return `NAME:
  ${program} ${command.name} - ${command.summary}

USAGE:
  ${program} ${command.name} [options] ${command.usage}

OPTIONS:
${flagLines(command.flags)}`;
}
