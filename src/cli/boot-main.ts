/**
 * The entry of the boot bundle (`dist/boot-main.js`): the program with `boot` as its only command.
 */
import * as boot from './boot.js';
import { runProgram } from './run.js';

/** Runs `tvmm boot …`; `args` are those of the whole command line. */
export function runBoot(args: readonly string[]): Promise<void> {
  return runProgram(args, [{ name: 'boot', summary: '', load: () => Promise.resolve(boot) }], 'boot');
}
