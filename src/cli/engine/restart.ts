/** `tvmm restart`: stops containers and starts them again. */
import type { Command } from 'commander';
import { each, integerOption } from './common.js';

const HELP = `
Examples:
  tvmm restart web
  tvmm restart -t 1 web          SIGKILL after a second
`;

export function register(program: Command): void {
  program
    .command('restart')
    .description('Stop containers if they run, and start them.')
    .argument('<container...>', 'names or ids')
    .option('-t, --time <seconds>', 'seconds until SIGKILL', integerOption('--time'))
    .addHelpText('after', HELP)
    .action(async (words: string[], options: { time?: number }) => {
      const { restartContainer } = await import('../../container/engine/change.js');
      await each(words, (context, id) => restartContainer(context, id, { timeout: options.time }));
    });
}
