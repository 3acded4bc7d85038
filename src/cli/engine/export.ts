/** `tvmm export`: a container's root file system as a tar archive. */
import { closeSync, openSync, renameSync, rmSync } from 'node:fs';
import type { Command } from 'commander';
import { UsageError } from '../usage-error.js';
import { engine } from './common.js';

const HELP = `
Volumes and other mounts are left out; owners are those that the container sees. tvmm image import makes an image of it.

Examples:
  tvmm export web > web.tar
  tvmm export -o web.tar web
  tvmm export web | tvmm image import - web:flat
`;

export function register(program: Command): void {
  program
    .command('export')
    .description('Write a container’s root file system as a tar archive.')
    .argument('<container>', 'name or id')
    .option('-o, --output <file>', 'a file instead of stdout')
    .addHelpText('after', HELP)
    .action(async (word: string, { output }: { output?: string }) => {
      if (output === undefined && process.stdout.isTTY)
        throw new UsageError(
          'an archive is not for the terminal',
          'give --output FILE, or send stdout to a file or a pipe',
        );
      const context = await engine();
      const id = context.store.resolve(word);
      const { exportContainer } = await import('../../container/engine/commit.js');
      if (output === undefined) {
        await exportContainer(context, id, 1);
        return;
      }
      // The file has its name once it is whole.
      const partial = `${output}.partial`;
      const fd = openPartial(partial);
      try {
        await exportContainer(context, id, fd);
        renameSync(partial, output);
      } catch (error) {
        rmSync(partial, { force: true });
        throw error;
      } finally {
        closeSync(fd);
      }
    });
}

function openPartial(file: string): number {
  try {
    return openSync(file, 'w', 0o600);
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new UsageError(`--output ${file} cannot be written: ${why}`);
  }
}
