/** `tvmm wait`: waits until containers have ended. */
import type { Command } from 'commander';
import { each } from './common.js';
import { printOut } from './here.js';

const HELP = `
Prints each container's exit status, in the order of the names.

Example:
  tvmm run -d --name job worker && [ "$(tvmm wait job)" = 0 ] && echo done
`;

export function register(program: Command): void {
  program
    .command('wait')
    .description('Wait until containers have ended and print their exit statuses.')
    .argument('<container...>', 'names or ids')
    .addHelpText('after', HELP)
    .action(async (words: string[]) => {
      const { waitForEnd } = await import('../../container/engine/wait.js');
      const ends = new Map<string, ReturnType<typeof waitForEnd>>();
      // All are waited for from now on: one that is gone when its turn comes has had an exit status.
      await each(
        words,
        async (context, id) => {
          ends.set(id, waitForEnd(context, id));
        },
        { quiet: true },
      );
      for (const end of ends.values()) printOut(`${(await end) ?? 255}\n`);
    });
}
