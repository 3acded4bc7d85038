/** `tvmm kill`: sends a signal to containers. */
import type { Command } from 'commander';
import { eachTarget, withTargets } from './common.js';

const HELP = `
Examples:
  tvmm kill web                   SIGKILL
  tvmm kill -s HUP web            reload
`;

export function register(program: Command): void {
  withTargets(program.command('kill').description('Send a signal to containers; SIGKILL by default.'))
    .option('-s, --signal <signal>', 'name or number', 'SIGKILL')
    .addHelpText('after', HELP)
    .action(async (words: string[], options: { all?: boolean; signal: string }) => {
      const { killContainer } = await import('../../container/engine/stop.js');
      await eachTarget(words, options, ['running', 'paused'], (context, id) =>
        killContainer(context, id, options.signal),
      );
    });
}
