/** `tvmm unpause`: lets paused containers go on. */
import type { Command } from 'commander';
import { each } from './common.js';

export function register(program: Command): void {
  program
    .command('unpause')
    .description('Let paused containers go on.')
    .argument('<container...>', 'names or ids')
    .addHelpText('after', '\nExample:\n  tvmm unpause db\n')
    .action(async (words: string[]) => {
      const { pauseContainer } = await import('../../container/engine/change.js');
      await each(words, (context, id) => pauseContainer(context, id, false));
    });
}
