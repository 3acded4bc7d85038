/** `tvmm pause`: stops every process of containers where it is. */
import type { Command } from 'commander';
import { eachTarget, withTargets } from './common.js';

const HELP = `
The processes keep their memory and do not notice; tvmm unpause lets them go on.

Example:
  tvmm pause db && cp -a /srv/db /backup; tvmm unpause db
`;

export function register(program: Command): void {
  withTargets(program.command('pause').description('Hold all processes of containers.'))
    .addHelpText('after', HELP)
    .action(async (words: string[], options: { all?: boolean }) => {
      const { pauseContainer } = await import('../../container/engine/change.js');
      await eachTarget(words, options, ['running'], (context, id) => pauseContainer(context, id, true));
    });
}
