/** The container commands in one script for V8's code cache (`dist/engine-main.cjs`): each has a cache of what it runs. */
import { ENGINE_COMMANDS } from './engine/table.js';
import { runProgram } from './run.js';

/** Runs `tvmm NAME …`. @returns false when it is none of the engine's commands: nothing has been done then */
export async function runEngineCommand(args: readonly string[], name: string): Promise<boolean> {
  if (ENGINE_COMMANDS.every((entry) => entry.name !== name)) return false;
  // The headings are for the help of all commands, which is not given here.
  await runProgram(
    args,
    ENGINE_COMMANDS.map((entry) => ({ ...entry, group: '' })),
    name,
  );
  return true;
}
