#!/usr/bin/env node
/**
 * The `tvmm` command: finds the command's name and hands over. Booting has a bundle of its own, one file without shared chunks: on the
 * way to the guest's first instruction every file that must be found and opened counts, most of all under emulation.
 */

/** The first word that is not a global option: `tvmm --debug boot`, `tvmm help boot` and `tvmm boot` all name boot. */
export function commandName(args: readonly string[]): string | undefined {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--log-level') i++;
    else if (!arg?.startsWith('-') && arg !== 'help') return arg;
  }
  return undefined;
}

const args = process.argv.slice(2);
const name = commandName(args);
if (name === 'boot') {
  const { runBoot } = await import('./boot-main.js');
  await runBoot(args);
} else {
  const [{ runProgram }, { COMMANDS }] = await Promise.all([import('./run.js'), import('./commands.js')]);
  await runProgram(args, COMMANDS, name);
}
