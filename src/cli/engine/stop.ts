/** `tvmm stop`: asks containers to end, and ends those that do not. */
import type { Command } from 'commander';
import { eachTarget, integerOption, withTargets } from './common.js';

const HELP = `
Each gets its stop signal (SIGTERM unless the image or --stop-signal says otherwise), and SIGKILL when it still runs after the time-out. A
restart policy does not start it again.

Examples:
  tvmm stop web db
  tvmm stop -t 60 db              give it a minute
  tvmm stop -t 0 web              at once
`;

export function register(program: Command): void {
  withTargets(program.command('stop').description('Stop running containers.'))
    .option('-t, --time <seconds>', 'seconds until SIGKILL; -1 waits for ever', integerOption('--time'))
    .option('-s, --signal <signal>', 'another signal than the container’s')
    .addHelpText('after', HELP)
    .action(async (words: string[], options: { all?: boolean; time?: number; signal?: string }) => {
      const { stopContainer } = await import('../../container/engine/stop.js');
      await eachTarget(words, options, ['running', 'paused'], (context, id) =>
        stopContainer(context, id, { timeout: options.time, signal: options.signal }),
      );
    });
}
