/**
 * `tvmm boot`: parses, chooses between this machine's KVM and the lab, prints. The work is in src/vmm/session.
 */
import { type Command, Option } from 'commander';
import type { BootRequest, DriveArgument } from '../vmm/session/request.js';
import { durationOption, parseCount, sizeOption } from './units.js';
import { UsageError } from './usage-error.js';

const HELP = `
Without options this boots the default guest: the distribution's cloud kernel, an initramfs and a root image with busybox,
Node and tvmm, all built on first use. --kernel, --initrd and --rootfs replace each of the three; "none" leaves one out.

Console: the terminal is the guest's serial port (ttyS0). Ctrl-A x ends the machine, Ctrl-A Ctrl-A sends one Ctrl-A.
Disks:   the rootfs is /dev/vda, further drives follow in order. Writable images are locked against other machines.
Accel:   "auto" uses /dev/kvm where it can run a stock kernel, else the lab: an emulated AMD-V machine (slow, but real).

Exit status: with --run the command's own; else 0 after power-off, reboot or Ctrl-A x; 128 + n after signal n; 125 when tvmm or
the guest fails (triple fault, time-out, panic of a --run guest), with one sentence on stderr.

Examples:
  tvmm boot                                              a shell in the default guest
  tvmm boot --run 'uname -r; nproc' --cpus 4
  tvmm boot --kernel vmlinux --rootfs disk.img           your kernel and your root (writable), our initramfs
  tvmm boot --kernel bzImage --initrd none --rootfs disk.img,ro --cmdline 'init=/bin/sh'
  tvmm boot --drive data.img,id=data --drive iso.img,ro --transport mmio
  tvmm boot --kernel guest.bin --flat real16             a flat binary, for lessons and tests
`;

interface BootFlags {
  kernel?: string;
  initrd?: string;
  rootfs?: string;
  drive: DriveArgument[];
  cmdline: string;
  cpus: number;
  memory: number;
  transport: 'pci' | 'mmio';
  protocol: BootRequest['protocol'];
  hugePages: BootRequest['hugePages'];
  cpuMask: string;
  flat?: 'real16' | 'protected32' | 'long64';
  flatAddress?: number;
  run?: string;
  timeout?: number;
  accel: 'auto' | 'kvm' | 'lab';
  json?: boolean;
  timings?: boolean;
}

/** `F[,ro][,id=NAME]`. What follows a comma must be an option: a typing error is refused, not taken for a path. @throws UsageError */
export function parseDrive(text: string, name: string): DriveArgument {
  const parts = text.split(',');
  const drive: DriveArgument = { path: '', readOnly: false };
  while (parts.length > 1) {
    const option = parts[parts.length - 1];
    if (option === 'ro') drive.readOnly = true;
    else if (option === 'rw') drive.readOnly = false;
    else if (option.startsWith('id=')) drive.id = checkId(option.slice(3), name);
    else throw new UsageError(`${name} "${text}": unknown option "${option}"`, 'Write FILE[,ro][,id=NAME].');
    parts.pop();
  }
  drive.path = parts[0];
  if (drive.path === '')
    throw new UsageError(`${name} "${text}" names no file`, 'Write FILE[,ro][,id=NAME].');
  return drive;
}

/** virtio-blk serial numbers have at most 20 bytes (section 5.2.6.1). */
function checkId(id: string, name: string): string {
  if (/^[\w.-]{1,20}$/.test(id)) return id;
  throw new UsageError(
    `${name}: "${id}" is no drive name`,
    'Use 1 to 20 letters, digits, dots, dashes or underscores.',
  );
}

function number(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new UsageError(`--flat-address "${text}" is no address`, 'Write a number, e.g. 0x1000.');
}

/** Adds `boot` to the program. */
export function register(program: Command): void {
  program
    .command('boot')
    .summary('boot a Linux kernel in a microVM')
    .description('Boot a Linux kernel (or a flat binary) in a microVM on /dev/kvm.')
    .option('--kernel <file>', 'vmlinux (ELF) or bzImage; default: the distribution’s cloud kernel')
    .option('--initrd <file>', 'initramfs; "none" boots without')
    .option('--rootfs <file[,ro]>', 'root disk, raw image or block device; "none" boots without')
    .addOption(
      new Option('--drive <file[,ro][,id=name]>', 'a further disk; may be repeated')
        .argParser((text, before: DriveArgument[]) => [...before, parseDrive(text, '--drive')])
        .default([], 'none'),
    )
    .option('--cmdline <text>', 'kernel command line, merged over the defaults', '')
    .addOption(
      new Option('--cpus <n>', 'vCPUs').argParser((text) => parseCount(text, '--cpus', 1, 4096)).default(1),
    )
    .addOption(
      new Option('--memory <size>', 'RAM').argParser(sizeOption('--memory')).default(512 * 2 ** 20, '512M'),
    )
    .addOption(
      new Option('--transport <kind>', 'how virtio devices are attached')
        .choices(['pci', 'mmio'])
        .default('pci'),
    )
    .addOption(
      new Option('--protocol <name>', 'boot protocol').choices(['auto', 'pvh', 'linux64']).default('auto'),
    )
    .addOption(
      new Option('--huge-pages <kind>', 'backing of guest memory')
        .choices(['none', 'transparent', 'hugetlb'])
        .default('transparent'),
    )
    .option('--cpu-mask <features>', 'CPU features to hide, e.g. avx2,rdrand', '')
    .addOption(
      new Option('--flat <mode>', 'the kernel is a flat binary, entered in this mode').choices([
        'real16',
        'protected32',
        'long64',
      ]),
    )
    .addOption(
      new Option('--flat-address <n>', 'where a flat binary is loaded (default 0x1000)').argParser(number),
    )
    .option('--run <command>', 'run a shell command in the default guest and exit with its status')
    .addOption(
      new Option('--timeout <duration>', 'end the machine after this time, e.g. 30 or 2m').argParser(
        durationOption('--timeout'),
      ),
    )
    .addOption(
      new Option('--accel <kind>', 'what runs the guest').choices(['auto', 'kvm', 'lab']).default('auto'),
    )
    .option('--json', 'print a report as JSON on stdout (the console moves to stderr)')
    .option('--timings', 'print where the time to the first instruction went, on stderr')
    .addHelpText('after', HELP)
    .action(async (flags: BootFlags) => {
      const { bootCommand } = await import('../vmm/session/boot.js');
      process.exitCode = await bootCommand(await toRequest(flags), flags.accel);
    });
}

function part(text: string | undefined): BootRequest['kernel'] {
  if (text === undefined) return { kind: 'default' };
  return text === 'none' ? { kind: 'none' } : { kind: 'file', path: text };
}

function rootfs(text: string | undefined): BootRequest['rootfs'] {
  if (text === undefined) return { kind: 'default' };
  return text === 'none' ? { kind: 'none' } : { kind: 'drive', ...parseDrive(text, '--rootfs') };
}

async function toRequest(flags: BootFlags): Promise<BootRequest> {
  if (flags.kernel === 'none')
    throw new UsageError('--kernel cannot be none', 'Leave it out for the default kernel.');
  if (flags.flat !== undefined && flags.kernel === undefined) {
    throw new UsageError('--flat needs --kernel: the flat binary');
  }
  if (flags.run !== undefined && flags.flat !== undefined) {
    throw new UsageError('--run needs a Linux guest, not a flat binary');
  }
  const cpuMask = flags.cpuMask === '' ? [] : (await import('../vcpu/cpuid.js')).parseCpuMask(flags.cpuMask);
  return {
    kernel: part(flags.kernel),
    initrd: part(flags.initrd),
    rootfs: rootfs(flags.rootfs),
    drives: flags.drive,
    cmdline: flags.cmdline,
    cpus: flags.cpus,
    memory: flags.memory,
    hugePages: flags.hugePages,
    cpuMask,
    transport: flags.transport,
    protocol: flags.protocol,
    flat: flags.flat === undefined ? undefined : { mode: flags.flat, address: flags.flatAddress },
    run: flags.run,
    timeoutMs: flags.timeout,
    json: flags.json === true,
    timings: flags.timings === true,
  };
}
