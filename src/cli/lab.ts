/**
 * `tvmm lab`: a command in the emulated AMD-V machine. Parses and prints; the lab itself is src/lab, imported when the command
 * runs.
 */
import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { parseCount, sizeOption } from './units.js';

const HELP = `
The lab is a whole machine in emulation: QEMU interprets an AMD processor with AMD-V and nested paging, so that the real
kvm_amd driver gives a real /dev/kvm where the host has none. Expect some 10 seconds to start, and everything in it ten to
fifty times slower than outside.

What the command sees: this host's files under the same paths, the current folder, root's rights, no network, cgroup v2,
PATH, HOME, LANG, TERM and the TVMM_* variables. It may write anywhere, but only the machine sees that, and it ends with
the command: send results through stdout.

It has one CPU, on which guests with several vCPUs run as well. More are faster, but QEMU before 8.1 then loses a nested
guest's boot now and then, under any VMM: the whole lab stands still.

Exit status: the command's own; 128 + n after signal n; 125 when the lab itself fails.

Examples:
  tvmm lab -- ls -l /dev/kvm                     a /dev/kvm that can boot stock kernels
  tvmm lab -- tvmm doctor                        what tvmm thinks of that machine
  tvmm lab                                       a shell in it
  tvmm lab --iommu -- ls /sys/kernel/iommu_groups
  tvmm lab --memory 6G -- npm test
  echo 21 | tvmm lab -- sh -c 'read n; echo $((n * 2))'
`;

interface LabFlags {
  iommu?: true | 'intel' | 'amd';
  /** Bytes. */
  memory: number;
  cpus: number;
}

/** Adds `lab` to the program. */
export function register(program: Command): void {
  program
    .command('lab')
    .summary('run a command in an emulated machine that has AMD-V')
    .description(
      'Run a command in an emulated machine with hardware virtualization (AMD-V), on a host that has none.',
    )
    .usage('[options] [--] [COMMAND…]')
    .argument('[command...]', 'the command and its arguments; a shell by default')
    .addOption(new Option('--iommu [kind]', 'give the machine an IOMMU').choices(['intel', 'amd']))
    .addOption(
      new Option('--memory <size>', 'RAM of the machine')
        .argParser(sizeOption('--memory'))
        .default(2 ** 31, '2G'),
    )
    .addOption(
      new Option('--cpus <n>', 'its CPUs').argParser((text) => parseCount(text, '--cpus', 1, 64)).default(1),
    )
    .passThroughOptions()
    .addHelpText('after', HELP)
    .action(async (command: string[], flags: LabFlags) => {
      process.exitCode = await runLab(command, flags);
    });
}

async function runLab(command: readonly string[], flags: LabFlags): Promise<number> {
  const [{ runInLab }, { showProgress }] = await Promise.all([
    import('../lab/run.js'),
    import('../guest/progress.js'),
  ]);
  using display = showProgress();
  // Fetching a kernel takes minutes and is said to everybody; the usual ten seconds only to somebody who waits.
  if (process.stderr.isTTY) display.report('starting the emulated machine');
  return await runInLab(command.length > 0 ? command : [existsSync('/bin/bash') ? '/bin/bash' : '/bin/sh'], {
    memoryMiB: Math.floor(flags.memory / 2 ** 20),
    cpus: flags.cpus,
    iommu: flags.iommu === true ? 'intel' : (flags.iommu ?? false),
    progress: display.report,
    onUp: () => display[Symbol.dispose](),
  });
}
