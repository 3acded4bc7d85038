/** Finds the command in a command line before any parser is loaded. */

/** The first word that is not a global option: `tvmm --debug boot`, `tvmm help boot` and `tvmm boot` all name boot. */
export function commandName(args: readonly string[]): string | undefined {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--log-level') i++;
    else if (!arg?.startsWith('-') && arg !== 'help') return arg;
  }
  return undefined;
}
