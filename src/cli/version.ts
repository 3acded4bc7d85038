/** `tvmm version`: this version, and what it runs on. */
import { arch, release } from 'node:os';
import type { Command } from 'commander';
import { type FormatFlags, printFormatted, withFormat } from './engine/format.js';

const FIELDS = ['Version', 'Node', 'Os', 'Arch', 'KernelVersion', 'Client', 'Server'] as const;

export function register(program: Command): void {
  withFormat(
    program.command('version').description('Print the version, and what it runs on.'),
    FIELDS,
  ).action((options: FormatFlags) => {
    const version = program.version() ?? '';
    const own = {
      Version: version,
      Node: process.version,
      Os: 'linux',
      Arch: arch(),
      KernelVersion: release(),
    };
    if (
      printFormatted(
        options,
        () => own,
        // Docker's clients and servers have versions of their own.
        () => [{ ...own, Client: own, Server: own }],
      )
    )
      return;
    process.stdout.write(
      `tvmm     ${version}\nnode     ${process.version}\nkernel   ${release()}\nmachine  ${arch()}\n`,
    );
  });
}
