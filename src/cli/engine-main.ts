/** The container commands in one script for V8's code cache (`dist/engine-main.cjs`): each has a cache of what it runs. */
import { ENGINE_COMMANDS } from './engine/table.js';
import { runProgram } from './run.js';

/** Runs `tvmm NAME …`. @param name one of the engine's commands */
export function runEngineCommand(args: readonly string[], name: string): Promise<void> {
  // The headings are for the help of all commands, which is not given here.
  return runProgram(
    args,
    ENGINE_COMMANDS.map((entry) => ({ ...entry, group: '' })),
    name,
  );
}
