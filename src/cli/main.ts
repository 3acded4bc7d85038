#!/usr/bin/env node
/**
 * The `tvmm` command: finds the command's name and hands over. Booting has a bundle of its own, one file without shared chunks: on the
 * way to the guest's first instruction every file that must be found and opened counts, most of all under emulation.
 */
import { commandName } from './command-name.js';

const args = process.argv.slice(2);
const name = commandName(args);
if (name === 'boot') {
  const { runBoot } = await import('./boot-main.js');
  await runBoot(args);
} else {
  const [{ runProgram }, { COMMANDS }] = await Promise.all([import('./run.js'), import('./commands.js')]);
  await runProgram(args, COMMANDS, name);
}
