/** `tvmm restart`: stops containers and starts them again. */
import type { Command } from 'commander';
import { eachTarget, integerOption, withTargets } from './common.js';

const HELP = `
Examples:
  tvmm restart web
  tvmm restart -t 1 web          SIGKILL after a second
`;

export function register(program: Command): void {
  withTargets(program.command('restart').description('Stop containers if they run, and start them.'))
    .option('-t, --time <seconds>', 'seconds until SIGKILL', integerOption('--time'))
    .addHelpText('after', HELP)
    .action(async (words: string[], options: { all?: boolean; time?: number }) => {
      const { restartContainer } = await import('../../container/engine/change.js');
      await eachTarget(words, options, ['running', 'paused'], (context, id) =>
        restartContainer(context, id, { timeout: options.time }),
      );
    });
}
