/**
 * `tvmm image`: the default guest's kernel, initramfs and root image. Parses and prints; the building is src/guest, imported when a
 * command runs.
 */
import type { Command } from 'commander';
import type { Guest } from '../guest/image.js';

const HELP = `
The default guest is what tvmm boot boots when it is given no files: this distribution's cloud kernel, unmodified, an
initramfs with the drivers it needs, and a root image with busybox, Node and tvmm. The first boot builds it; it is kept in
TVMM_CACHE, else XDG_CACHE_HOME/tvmm, else ~/.cache/tvmm, and built again when tvmm or Node change. Nothing is installed
on the host and no root is needed, but for apt's package lists where there are none.

Examples:
  tvmm image build                 build what is missing or out of date
  tvmm image build --refresh       look for a newer kernel first
  tvmm image path                  where the files are
  tvmm boot --kernel "$(tvmm image path --json | jq -r .bzImage)"
`;

const JSON_HELP = `
--json prints one object with absolute paths:
  kernel (ELF vmlinux), bzImage, initrd (cpio), rootfs (raw ext4), and version (uname -r in the guest)
`;

/** The guest's files, one a line, for people and for \`read\`. */
export function formatGuest(guest: Guest, json: boolean): string {
  if (json) return `${JSON.stringify(guest, undefined, 2)}\n`;
  const { version, kernel, bzImage, initrd, rootfs } = guest;
  return Object.entries({ version, kernel, bzImage, initrd, rootfs })
    .map(([name, value]) => `${name.padEnd(8)} ${value}\n`)
    .join('');
}

/** Adds `image` to the program. */
export function register(program: Command): void {
  const image = program
    .command('image')
    .description('Build the default guest, or say where its files are.')
    .usage('COMMAND [options]')
    .addHelpText('after', HELP);
  image
    .command('build')
    .description('build the default guest where it is missing or out of date')
    .option('--force', 'build the images even if they are up to date')
    .option('--refresh', "ask apt for a newer kernel first; without a network the cache's stays")
    .option('--json', 'print the files as one JSON object')
    .addHelpText('after', JSON_HELP)
    .action(async (options: { force?: boolean; refresh?: boolean; json?: boolean }) => {
      const [{ buildGuest }, { showProgress }] = await Promise.all([
        import('../guest/image.js'),
        import('../guest/progress.js'),
      ]);
      let guest: Guest;
      {
        using display = showProgress();
        guest = await buildGuest({
          force: options.force,
          refresh: options.refresh,
          progress: display.report,
        });
      }
      process.stdout.write(formatGuest(guest, options.json === true));
    });
  image
    .command('path')
    .description('print where the files are; fails if they are not built')
    .option('--json', 'print the files as one JSON object')
    .addHelpText('after', JSON_HELP)
    .action(async (options: { json?: boolean }) => {
      const { requireGuest } = await import('../guest/image.js');
      process.stdout.write(formatGuest(requireGuest(), options.json === true));
    });
}
