/** `tvmm wait`: waits until containers have ended. */
import type { Command } from 'commander';
import { engine } from './common.js';
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
      const context = await engine();
      const { waitForEnd } = await import('../../container/engine/wait.js');
      const ends = words.map((word) => waitForEnd(context, context.store.resolve(word)));
      for (const end of ends) printOut(`${(await end) ?? 255}\n`);
    });
}
