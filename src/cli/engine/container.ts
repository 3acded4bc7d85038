/** `tvmm container prune`: removes containers that do not run. All other commands of containers stand by themselves. */
import type { Command } from 'commander';
import type { ContainerRecord } from '../../container/engine/record.js';
import { collect, engine } from './common.js';
import { labelsOf } from './container-row.js';
import { type Filters, filterOf, hasLabel } from './filters.js';
import { printOut } from './here.js';

const HELP = `
Everything else that can be done to containers is a command of its own: tvmm ps, rm, inspect …

Examples:
  tvmm container prune
  tvmm container prune --filter label=temporary
`;

export function register(program: Command): void {
  const container = program
    .command('container')
    .description('Remove containers that do not run.')
    .usage('prune [options]')
    .addHelpText('after', HELP);
  container
    .command('prune')
    .description('remove containers that do not run; prints their names')
    .option('--filter <label=name>', 'only those with a label', collect)
    .option('-f, --force', 'as it is anyway: nothing is asked')
    .action(async (flags: { filter?: string[] }) => {
      const { pruneContainers } = await import('../../container/engine/disk-use.js');
      const filters: Filters<ContainerRecord> = {
        label: (record, value) => hasLabel(Object.fromEntries(labelsOf(record)), value),
      };
      const removed = await pruneContainers(await engine(), filterOf(filters, flags.filter));
      printOut(removed.map((name) => `${name}\n`).join(''));
    });
}
