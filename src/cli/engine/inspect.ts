/** `tvmm inspect`: everything that is known about containers. */
import type { Command } from 'commander';
import { engine, printJson } from './common.js';

const HELP = `
Prints a JSON list with one object a container: id, name, state, exitCode, init.pid, interfaces (addresses and gateways), ports, options
(as they were given), logPath.

Examples:
  tvmm inspect web
  tvmm inspect web | jq -r '.[0].interfaces[0].addresses[0]'
`;

export function register(program: Command): void {
  program
    .command('inspect')
    .description('Show everything that is known about containers, as JSON.')
    .argument('<container...>', 'names or ids')
    .option('--json', 'as it is anyway')
    .addHelpText('after', HELP)
    .action(async (words: string[]) => {
      const context = await engine();
      const { current } = await import('../../container/engine/wait.js');
      const found = [];
      for (const word of words) {
        const id = context.store.resolve(word);
        const record = await current(context, id);
        if (record !== undefined) found.push({ ...record, logPath: `${context.store.folder(id)}/log` });
      }
      printJson(found);
    });
}
