/** `tvmm diff`: what a container has changed in its root file system. */
import type { Command } from 'commander';
import { escaped } from '../../sys/errors.js';
import { engine, printJson, wantsJson, withJson } from './common.js';
import { printOut } from './here.js';

const HELP = `
A added, C changed, D deleted. Volumes and other mounts do not count.

Example:
  tvmm diff web
`;

const LETTERS = { added: 'A', changed: 'C', deleted: 'D' } as const;

export function register(program: Command): void {
  withJson(
    program
      .command('diff')
      .description('Show what a container has changed in its root file system.')
      .argument('<container>', 'name or id'),
  )
    .addHelpText('after', HELP)
    .action(async (word: string, options: { json?: boolean; format?: string }) => {
      const context = await engine();
      const { diffContainer } = await import('../../container/engine/commit.js');
      const changes = (await diffContainer(context, context.store.resolve(word))).map(({ kind, path }) => ({
        kind,
        path: `/${Buffer.from(path, 'latin1').toString()}`,
      }));
      if (wantsJson(options)) {
        printJson(changes);
        return;
      }
      // Control characters of a name must not reach the terminal.
      const shown = (path: string) => escaped(JSON.stringify(path).slice(1, -1));
      printOut(changes.map(({ kind, path }) => `${LETTERS[kind]} ${shown(path)}\n`).join(''));
    });
}
