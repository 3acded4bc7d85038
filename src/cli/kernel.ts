/**
 * `tvmm kernel`: the minimal guest kernel. Parses and prints; the building is src/guest, imported when a command runs.
 */
import type { Command } from 'commander';
import type { MinimalKernel } from '../guest/minimal-kernel.js';

const HELP = `
The minimal kernel is made from this distribution's linux-source package with tvmm's own configuration: PVH, KVM, virtio,
NVMe, ext4, erofs, overlay, namespaces, cgroups, seccomp, nftables, vsock and virtio-fs; no modules and nothing else. It
is a fraction of the stock kernel's size, so it starts faster. Its drivers are built in: it needs no initrd.

A build takes some ten minutes on two CPUs, a few GB in the cache while it runs, and the usual build tools; as root, tvmm
installs those that are missing. It is kept until the configuration changes.

Examples:
  tvmm kernel build
  tvmm boot --kernel "$(tvmm kernel path)"
`;

const JSON_HELP = `
--json prints one object: version (uname -r), and absolute paths: vmlinux (ELF) and bzImage
`;

/** The kernel's files, one a line. */
export function formatKernel(kernel: MinimalKernel, json: boolean): string {
  if (json) return `${JSON.stringify(kernel, undefined, 2)}\n`;
  const { version, vmlinux, bzImage } = kernel;
  return Object.entries({ version, vmlinux, bzImage })
    .map(([name, value]) => `${name.padEnd(8)} ${value}\n`)
    .join('');
}

/** Adds `kernel` to the program. */
export function register(program: Command): void {
  const kernel = program
    .command('kernel')
    .description('Build the minimal guest kernel, or say where it is.')
    .usage('COMMAND [options]')
    .addHelpText('after', HELP);
  kernel
    .command('build')
    .description('build the minimal kernel unless it is in the cache')
    .option('--force', 'build it even if it is in the cache')
    .option('--json', 'print the result as one JSON object')
    .addHelpText('after', JSON_HELP)
    .action(async (options: { force?: boolean; json?: boolean }) => {
      const [{ ensureMinimalKernel }, { showProgress }] = await Promise.all([
        import('../guest/minimal-kernel.js'),
        import('../guest/progress.js'),
      ]);
      let built: MinimalKernel;
      {
        using display = showProgress();
        built = await ensureMinimalKernel(display.report, { force: options.force });
      }
      process.stdout.write(formatKernel(built, options.json === true));
    });
  kernel
    .command('path')
    .description('print the path of its vmlinux; fails if it is not built')
    .option('--bzimage', 'print the path of its bzImage instead')
    .option('--json', 'print everything as one JSON object')
    .addHelpText('after', JSON_HELP)
    .action(async (options: { bzimage?: boolean; json?: boolean }) => {
      const { requireMinimalKernel } = await import('../guest/minimal-kernel.js');
      const found = requireMinimalKernel();
      const path = options.bzimage === true ? found.bzImage : found.vmlinux;
      process.stdout.write(options.json === true ? formatKernel(found, true) : `${path}\n`);
    });
}
