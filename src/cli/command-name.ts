/** Finds the command in a command line before any parser is loaded. */

/** Where the first word stands that is not a global option; -1 where there is none. */
export function commandIndex(args: readonly string[]): number {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--log-level') i++;
    else if (!arg?.startsWith('-') && arg !== 'help') return i;
  }
  return -1;
}

/** The first word that is not a global option: `tvmm --debug boot`, `tvmm help boot` and `tvmm boot` all name boot. */
export function commandName(args: readonly string[]): string | undefined {
  return args[commandIndex(args)];
}
