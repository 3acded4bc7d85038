/** `tvmm kill`: sends a signal to containers. */
import type { Command } from 'commander';
import { each } from './common.js';

const HELP = `
Examples:
  tvmm kill web                   SIGKILL
  tvmm kill -s HUP web            reload
`;

export function register(program: Command): void {
  program
    .command('kill')
    .description('Send a signal to containers; SIGKILL by default.')
    .argument('<container...>', 'names or ids')
    .option('-s, --signal <signal>', 'name or number', 'SIGKILL')
    .addHelpText('after', HELP)
    .action(async (words: string[], { signal }: { signal: string }) => {
      const { killContainer } = await import('../../container/engine/stop.js');
      await each(words, (context, id) => killContainer(context, id, signal));
    });
}
