/** `tvmm commit`: makes an image out of a container. */
import type { Command } from 'commander';
import { UsageError } from '../usage-error.js';
import { collect, engine } from './common.js';
import { isTrue } from './filters.js';
import { printOut } from './here.js';

const HELP = `
What the container has written becomes a layer on top of its image; of a container from a plain folder the whole root is taken. Volumes and other
mounts are left out. The container is paused meanwhile, unless --pause=false. Prints the id of the image.

Examples:
  tvmm commit web web:patched
  tvmm commit -c 'CMD ["nginx"]' -c 'EXPOSE 80' -m 'with config' web localhost/web:2
`;

interface CommitFlags {
  author?: string;
  change?: string[];
  message?: string;
  pause: string | true;
}

export function register(program: Command): void {
  program
    .command('commit')
    .description('Make an image out of a container.')
    .argument('<container>', 'name or id')
    .argument('[image]', 'name of the new image')
    .option('-a, --author <name>', 'who has made it')
    .option(
      '-c, --change <instruction>',
      'CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR …',
      collect,
    )
    .option('-m, --message <text>', 'a comment for its history')
    .option('-p, --pause [bool]', 'hold the container meanwhile', 'true')
    .addHelpText('after', HELP)
    .action(async (word: string, name: string | undefined, flags: CommitFlags) => {
      const context = await engine();
      const [{ commitContainer }, { parseReference }] = await Promise.all([
        import('../../container/engine/commit.js'),
        import('../../container/image/reference.js'),
      ]);
      if (name !== undefined && parseReference(name).digest !== undefined)
        throw new UsageError(`${name} names an image by its digest`, 'give a name and a tag');
      const image = await commitContainer(context, context.store.resolve(word), {
        name,
        author: flags.author,
        message: flags.message,
        changes: flags.change ?? [],
        pause: flags.pause === true || isTrue('--pause', flags.pause),
      });
      printOut(`${image.id}\n`);
    });
}
