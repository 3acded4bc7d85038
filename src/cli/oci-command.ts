/**
 * `tvmm oci` as a line in the help and the completion of `tvmm`: the command itself never comes here, main.ts gives it to a bundle of its own
 * (oci-start.ts), which reads its command line by a table.
 */
import type { Command } from 'commander';
import { COMMANDS } from './oci-table.js';

/** Adds `oci` to the program. */
export function register(program: Command): void {
  const oci = program
    .command('oci')
    .description('Be an OCI runtime, with the command line of runc; the same as tvmm-oci.')
    .usage('[global options] COMMAND [options] [arguments...]');
  for (const { name, summary } of COMMANDS) oci.command(name).description(summary);
}
