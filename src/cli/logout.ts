/** `tvmm logout`: forgets a registry's password. */
import type { Command } from 'commander';
import { UsageError } from './usage-error.js';

export function register(program: Command): void {
  program
    .command('logout')
    .description('Forget the password for a registry.')
    .argument('[registry]', 'its host, and port where it has one (default: docker.io)')
    .option('-a, --all', 'the passwords for all registries')
    .action(async (word: string | undefined, { all = false }: { all?: boolean }) => {
      if (all && word !== undefined) throw new UsageError('--all takes no registry');
      const { forgetLogin } = await import('../container/image/index.js');
      const registry = (word ?? 'docker.io').replace(/^https?:\/\//, '').replace(/\/.*$/, '');
      const changed = await forgetLogin(all ? undefined : registry);
      process.stdout.write(
        changed.length === 0
          ? `Not logged in to ${all ? 'any registry' : registry}\n`
          : 'Removed login credentials\n',
      );
    });
}
