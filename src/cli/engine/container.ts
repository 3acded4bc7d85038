/** `tvmm container prune`: removes containers that do not run. All other commands of containers stand by themselves. */
import type { Command } from 'commander';
import type { ContainerRecord } from '../../container/engine/record.js';
import { collect, engine } from './common.js';
import { labelsOf } from './container-row.js';
import { addExists } from './exists.js';
import { type Filters, filterOf, hasLabel } from './filters.js';
import { printOut } from './here.js';
import { moment } from './logs.js';

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
    .usage('COMMAND [options]')
    .addHelpText('after', HELP);
  addExists(container, 'container', async (word) => (await engine()).store.resolve(word));
  container
    .command('prune')
    .description('remove containers that do not run; prints their names')
    .option('--filter <name=value>', 'label=NAME[=VALUE], label!=NAME, until=TIME: only those', collect)
    .option('-f, --force', 'as it is anyway: nothing is asked')
    .action(async (flags: { filter?: string[] }) => {
      const { pruneContainers } = await import('../../container/engine/disk-use.js');
      const filters: Filters<ContainerRecord> = {
        label: (record, value) => hasLabel(Object.fromEntries(labelsOf(record)), value),
        'label!': (record, value) => !hasLabel(Object.fromEntries(labelsOf(record)), value),
        until: (record, value) => record.created < moment('--filter until', value),
      };
      const removed = await pruneContainers(await engine(), filterOf(filters, flags.filter));
      printOut(removed.map((name) => `${name}\n`).join(''));
    });
}
