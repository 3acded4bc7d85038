/** `tvmm attach`: joins our terminal to a running container. */
import type { Command } from 'commander';
import { UsageError } from '../usage-error.js';
import { engine } from './common.js';
import { exitWith } from './here.js';
import { addJoinOptions, type JoinFlags, joinWishes } from './join-flags.js';

const HELP = `
Output from now on is shown; tvmm logs shows what was before. Ctrl-P Ctrl-Q lets go of a container with a terminal; it runs on. Its
exit status is ours when it ends.

Examples:
  tvmm attach shell
  tvmm attach --no-stdin web        only watch
`;

export function register(program: Command): void {
  addJoinOptions(
    program
      .command('attach')
      .description('Join our terminal to a running container.')
      .argument('<container>', 'name or id')
      .option('--no-stdin', 'do not join stdin'),
  )
    .addHelpText('after', HELP)
    .action(async (word: string, options: JoinFlags & { stdin: boolean }) => {
      const { signals, detachKeys } = joinWishes(options);
      const context = await engine();
      const [{ current }, { attachTo }] = await Promise.all([
        import('../../container/engine/wait.js'),
        import('./foreground.js'),
      ]);
      const record = await current(context, context.store.resolve(word));
      if (record === undefined || (record.state !== 'running' && record.state !== 'paused'))
        throw new UsageError(
          `container ${word} does not run`,
          `tvmm start -a ${word} starts it and joins it`,
        );
      const status = await attachTo(context, record, {
        interactive: options.stdin && record.options.interactive,
        tty: record.options.tty,
        signals,
        detachKeys,
      });
      exitWith(status);
    });
}
