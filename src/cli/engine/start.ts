/** `tvmm start`: starts containers that exist. */
import type { Command } from 'commander';
import { each, engine, withStartStatus } from './common.js';

const HELP = `
Examples:
  tvmm start web db          start two containers
  tvmm start -a job          start one and stay with its output; its exit status is ours
  tvmm start -ai shell       with our input, too
`;

export function register(program: Command): void {
  program
    .command('start')
    .description('Start containers that have been created or have stopped.')
    .argument('<container...>', 'names or ids')
    .option('-a, --attach', 'show its output and pass signals on')
    .option('-i, --interactive', 'join our stdin as well')
    .addHelpText('after', HELP)
    .action(
      async (words: string[], options: { attach?: boolean; interactive?: boolean; debug?: boolean }) => {
        const foreground = options.attach === true || options.interactive === true;
        const [first, second] = words;
        if (!foreground || first === undefined || second !== undefined) {
          const { startContainer } = await import('../../container/engine/start.js');
          return each(words, (context, id) =>
            context.store.locked(id, (record) => startContainer(context, record)),
          );
        }
        return withStartStatus(async () => {
          const context = await engine();
          const record = context.store.read(context.store.resolve(first));
          const { startAttached } = await import('./foreground.js');
          if (record !== undefined)
            process.exitCode = await startAttached(context, record, options.interactive === true);
        }, options.debug);
      },
    );
}
