/** `tvmm cp`: copies files between a container and the host. */
import type { Command } from 'commander';
import type { CopyOptions } from '../../container/engine/copy.js';
import { engine } from './common.js';
import { printError } from './here.js';

const HELP = `
One side is a container, written NAME:PATH. Into an existing folder things go under their own name; a source that ends with /. means what is
in it. What - stands for is a tar stream; one that comes in may be packed (gzip, zstd). Files in the container belong to its root, files on
the host to you, and devices and set-uid bits stay behind, unless -a keeps all as it was; owners are those that the container sees.
The container may run or not; its volumes are only seen while it runs.

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
    .option('-a, --archive', 'keep owners, devices, extended attributes and set-uid bits')
    .option('-L, --follow-link', 'copy what a link at the end of the source names')
    .addHelpText('after', HELP)
    .action(async (source: string, destination: string, options: CopyOptions) => {
      const context = await engine();
      const { copy, parseCopyEnd } = await import('../../container/engine/copy.js');
      const skipped = await copy(context, parseCopyEnd(source), parseCopyEnd(destination), process.stdin, {
        archive: options.archive === true,
        followLink: options.followLink === true,
      });
      if (skipped.length > 0)
        printError(`tvmm: ${skipped.length} devices or other special files were left out; -a keeps them\n`);
    });
}
