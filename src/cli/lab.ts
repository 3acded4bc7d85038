/**
 * `tvmm lab`: a command in the emulated AMD-V machine. Parses and prints; the lab itself is src/lab, imported when the command
 * runs.
 */
import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';

const HELP = `
The lab is a whole machine in emulation: QEMU interprets an AMD processor with AMD-V and nested paging, so that the real
kvm_amd driver gives a real /dev/kvm where the host has none. Expect some 10 seconds to start, and everything in it ten to
fifty times slower than outside.

What the command sees: this host's files under the same paths, the current folder, root's rights, no network, cgroup v2,
PATH, HOME, LANG, TERM and the TVMM_* variables. It may write anywhere, but only the machine sees that, and it ends with
the command: send results through stdout.

Exit status: the command's own; 128 + n after signal n; 125 when the lab itself fails.

Examples:
  tvmm lab -- ls -l /dev/kvm                     a /dev/kvm that can boot stock kernels
  tvmm lab -- tvmm doctor                        what tvmm thinks of that machine
  tvmm lab                                       a shell in it
  tvmm lab --iommu -- ls /sys/kernel/iommu_groups
  tvmm lab --memory 6G --cpus 4 -- npm test
  echo 21 | tvmm lab -- sh -c 'read n; echo $((n * 2))'
`;

interface LabFlags {
  iommu?: true | 'intel' | 'amd';
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
    .option('--memory <size>', 'memory of the machine, e.g. 2G or 768M', parseMemory, 2048)
    .option('--cpus <n>', 'CPUs of the machine', parseCount, 2)
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
    memoryMiB: flags.memory,
    cpus: flags.cpus,
    iommu: flags.iommu === true ? 'intel' : (flags.iommu ?? false),
    progress: display.report,
    onUp: () => display[Symbol.dispose](),
  });
}

/** `2G`, `768M` or a number of MiB; in MiB. */
export function parseMemory(text: string): number {
  const match = /^(\d+)([GM]?)(iB)?$/i.exec(text);
  if (match === null) throw new InvalidArgumentError('a size is a number with M or G behind it, e.g. 2G.');
  return Number(match[1]) * (match[2]?.toUpperCase() === 'G' ? 1024 : 1);
}

function parseCount(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('it must be a number.');
  return Number(text);
}
