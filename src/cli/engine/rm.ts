/** `tvmm rm`: removes containers and everything of them. */
import type { Command } from 'commander';
import { eachTarget, withTargets } from './common.js';

const HELP = `
Gone are the container's own layer, log, networks and cgroup; folders that were mounted into it and volumes with a name stay. With -v its
volumes without a name go as well.

Examples:
  tvmm rm old
  tvmm rm -f web                                             even if it runs
  tvmm ps -aq --filter status=stopped | xargs -r tvmm rm     all that have ended
`;

export function register(program: Command): void {
  withTargets(program.command('rm').description('Remove containers.'))
    .option('-f, --force', 'kill it if it runs; one that is not there is no failure')
    .option('-v, --volumes', 'remove its volumes without a name as well')
    .addHelpText('after', HELP)
    .action(async (words: string[], options: { all?: boolean; force?: boolean; volumes?: boolean }) => {
      const { removeContainer } = await import('../../container/engine/stop.js');
      const { force = false, volumes = false } = options;
      await eachTarget(
        words,
        options,
        ['created', 'running', 'paused', 'stopped'],
        (context, id) => removeContainer(context, id, { force, volumes }),
        { missingIsFine: force },
      );
    });
}
