/** `tvmm unpause`: lets paused containers go on. */
import type { Command } from 'commander';
import { eachTarget, withTargets } from './common.js';

export function register(program: Command): void {
  withTargets(program.command('unpause').description('Let paused containers go on.'))
    .addHelpText('after', '\nExample:\n  tvmm unpause db\n')
    .action(async (words: string[], options: { all?: boolean }) => {
      const { pauseContainer } = await import('../../container/engine/change.js');
      await eachTarget(words, options, ['paused'], (context, id) => pauseContainer(context, id, false));
    });
}
