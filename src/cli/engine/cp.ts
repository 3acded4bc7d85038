/** `tvmm cp`: copies files between a container and the host. */
import type { Command } from 'commander';
import { engine } from './common.js';

const HELP = `
One side is a container, written NAME:PATH. Into an existing folder things go under their own name; a source that ends with /. means what is
in it. What - stands for is a tar stream. Files in the container belong to its root, files on the host to you. Devices and sockets are
left out. The container may run or not.

Examples:
  tvmm cp web:/var/log/app.log .
  tvmm cp ./site/. web:/srv/www
  tvmm cp web:/etc - | tar t
  tar c data | tvmm cp - web:/srv
`;

export function register(program: Command): void {
  program
    .command('cp')
    .description('Copy files between a container and the host.')
    .argument('<source>', 'NAME:PATH, a path, or - for a tar stream')
    .argument('<destination>', 'NAME:PATH, a path, or - for a tar stream')
    .addHelpText('after', HELP)
    .action(async (source: string, destination: string) => {
      const context = await engine();
      const { copy, parseCopyEnd } = await import('../../container/engine/copy.js');
      const skipped = await copy(context, parseCopyEnd(source), parseCopyEnd(destination), process.stdin);
      if (skipped.length > 0)
        process.stderr.write(`tvmm: ${skipped.length} devices or other special files were left out\n`);
    });
}
