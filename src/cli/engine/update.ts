/** `tvmm update`: changes limits of containers, running ones at once. */
import type { Command } from 'commander';
import type { LimitOptions } from '../../container/engine/change.js';
import { each, integerOption, memoryOption, numberOption } from './common.js';

const HELP = `
Examples:
  tvmm update --memory 1g --cpus 2 web
  tvmm update --pids-limit 100 --restart no web
`;

export function register(program: Command): void {
  program
    .command('update')
    .description('Change limits and the restart policy of containers.')
    .argument('<container...>', 'names or ids')
    .option('-m, --memory <size>', 'limit of memory', memoryOption('--memory'))
    .option('--memory-swap <size>', 'limit of memory and swap together', memoryOption('--memory-swap'))
    .option(
      '--memory-reservation <size>',
      'memory it should be left with',
      memoryOption('--memory-reservation'),
    )
    .option('--cpus <number>', 'limit of processors', numberOption('--cpus'))
    .option('--cpu-shares <n>', 'share of processor time', integerOption('--cpu-shares'))
    .option(
      '--memory-swappiness <n>',
      'how readily its memory is swapped, 0 to 100',
      integerOption('--memory-swappiness'),
    )
    .option('--cpu-period <us>', 'period of --cpu-quota in microseconds', integerOption('--cpu-period'))
    .option('--cpu-quota <us>', 'processor time in each period', integerOption('--cpu-quota'))
    .option('--blkio-weight <n>', 'share of disk time, 10 to 1000', integerOption('--blkio-weight'))
    .option('--cpuset-cpus <list>', 'processors it may use')
    .option('--cpuset-mems <list>', 'memory nodes it may use')
    .option('--pids-limit <n>', 'limit of processes', integerOption('--pids-limit'))
    .option('--restart <policy>', 'no, always, unless-stopped, on-failure[:N]')
    .addHelpText('after', HELP)
    .action(async (words: string[], flags: LimitOptions & { debug?: boolean; logLevel?: string }) => {
      const { updateContainer } = await import('../../container/engine/change.js');
      const { debug: _debug, logLevel: _level, ...change } = flags;
      await each(words, (context, id) => updateContainer(context, id, change));
    });
}
