#!/usr/bin/env node
/**
 * The `tvmm` command: finds the command's name and hands over. Booting has a bundle of its own with a code cache: on the way to the
 * guest's first instruction every file that must be found and opened, and every function compiled, counts, most of all under emulation.
 */
import { fileURLToPath } from 'node:url';
import { loadBundle } from '../sys/code-cache.js';
import type * as BootMain from './boot-main.js';
import { commandName } from './command-name.js';

const args = process.argv.slice(2);
const name = commandName(args);
if (name === 'boot') {
  // The bundle is our own build's: its exports are what its source says.
  const { runBoot } = loadBundle(
    fileURLToPath(new URL('./boot-main.cjs', import.meta.url)),
  ) as typeof BootMain;
  await runBoot(args);
} else {
  const [{ runProgram }, { COMMANDS }] = await Promise.all([import('./run.js'), import('./commands.js')]);
  await runProgram(args, COMMANDS, name);
}
