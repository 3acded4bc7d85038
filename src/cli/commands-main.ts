/** The entry of every command but boot (`dist/commands-main.js`): one chunk a command, loaded when it is the one that runs. */
import { COMMANDS } from './commands.js';
import { runProgram } from './run.js';

/** Runs `tvmm …`. @param name the command's name, if there is one */
export function runCommands(args: readonly string[], name: string | undefined): Promise<void> {
  return runProgram(args, COMMANDS, name);
}
