/** `tvmm create`: makes a container without starting it. */
import type { Command } from 'commander';
import { engine } from './common.js';
import { addCreateOptions } from './create-flags.js';
import type { CreateFlags } from './create-options.js';
import { printOut } from './here.js';
import { makeContainer } from './make.js';

const HELP = `
The options are those of tvmm run. All of them are checked now; mounts, networks and processes come with tvmm start.

Examples:
  tvmm create --name db -v /srv/db:/var/lib/postgresql/data postgres
  tvmm start db
`;

export function register(program: Command): void {
  addCreateOptions(program.command('create'))
    .description('Create a container without starting it.')
    .usage('[options] IMAGE [COMMAND…]')
    .addHelpText('after', HELP)
    .action(async (image: string | undefined, words: string[], flags: CreateFlags & { debug?: boolean }) => {
      const { debug: _debug, ...options } = flags;
      const record = await makeContainer(await engine(), image, words, options);
      printOut(`${record.id}\n`);
    });
}
