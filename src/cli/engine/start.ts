/** `tvmm start`: starts containers that exist. */
import type { Command } from 'commander';
import { failureText } from '../report.js';
import { UsageError } from '../usage-error.js';
import { each, engine, withStartStatus } from './common.js';
import { exitWith, printError, printOut } from './here.js';
import { addJoinOptions, type JoinFlags, joinWishes } from './join-flags.js';

const HELP = `
Examples:
  tvmm start web db          start two containers
  tvmm start -a job          start one and stay with its output; its exit status is ours
  tvmm start -ai shell       with our input, too
  tvmm start --all-restarting   what a boot runs: every container whose --restart asks for it
`;

interface StartFlags extends Omit<JoinFlags, 'attach'> {
  readonly attach?: boolean;
  readonly interactive?: boolean;
  readonly allRestarting?: boolean;
  readonly debug?: boolean;
}

async function startAll(words: readonly string[]): Promise<void> {
  if (words.length > 0) throw new UsageError('--all-restarting takes no names');
  const { startAllRestarting } = await import('../../container/engine/at-boot.js');
  for (const { name, error } of await startAllRestarting(await engine())) {
    if (error === undefined) printOut(`${name}\n`);
    else {
      printError(failureText(error, false));
      exitWith(1);
    }
  }
}

export function register(program: Command): void {
  addJoinOptions(
    program
      .command('start')
      .description('Start containers that have been created or have stopped.')
      .argument('[container...]', 'names or ids'),
  )
    .option('--all-restarting', 'every container whose restart policy wants it to run, as after a boot')
    .option('-a, --attach', 'show its output and pass signals on')
    .option('-i, --interactive', 'join our stdin as well')
    .addHelpText('after', HELP)
    .action(async (words: string[], options: StartFlags) => {
      if (options.allRestarting === true) return startAll(words);
      if (words.length === 0)
        throw new UsageError('there is no container to start', 'name one, see tvmm ps -a');
      const foreground = options.attach === true || options.interactive === true;
      const [first, second] = words;
      if (!foreground || first === undefined || second !== undefined) {
        const { startContainer } = await import('../../container/engine/start.js');
        const { settle } = await import('../../container/engine/settle.js');
        return each(words, (context, id) =>
          context.store.locked(id, async (found) => {
            const record = await settle(context, found);
            // Docker's is content with a container that runs.
            if (record.state !== 'running') await startContainer(context, record);
          }),
        );
      }
      return withStartStatus(async () => {
        const context = await engine();
        const { attach: _attach, ...flags } = options;
        const wishes = joinWishes(flags);
        const [{ attachTo, startAttached }, { current }] = await Promise.all([
          import('./foreground.js'),
          import('../../container/engine/wait.js'),
        ]);
        const record = await current(context, context.store.resolve(first));
        if (record === undefined) return;
        const interactive = options.interactive === true;
        const join = { ...wishes, interactive, tty: record.options.tty };
        exitWith(
          record.state === 'running'
            ? await attachTo(context, record, join)
            : await startAttached(context, record, interactive, wishes),
        );
      }, options.debug);
    });
}
