/** `tvmm rename`: gives a container another name. */
import type { Command } from 'commander';
import { engine } from './common.js';

export function register(program: Command): void {
  program
    .command('rename')
    .description('Give a container another name.')
    .argument('<container>', 'name or id')
    .argument('<name>', 'the new name')
    .addHelpText('after', '\nExample:\n  tvmm rename calm-otter web\n')
    .action(async (word: string, name: string) => {
      const context = await engine();
      const { renameContainer } = await import('../../container/engine/change.js');
      await renameContainer(context, context.store.resolve(word), name);
    });
}
