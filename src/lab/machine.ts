/**
 * L1 as a QEMU command line: TCG with AMD-V and nested paging, PVH entry, the host's file system by 9p, virtio-serial ports on
 * inherited sockets (so nothing of it has a name in the file system). Pure, except for the search for QEMU itself.
 */
import { accessSync, constants } from 'node:fs';
import { totalmem } from 'node:os';
import { delimiter, join } from 'node:path';
import { runCommand } from '../guest/command.js';
import { LabOptionError, LabStartError } from './errors.js';
import { MOUNT_TAG, PORT } from './layout.js';
import { shellQuote } from './shell.js';

/** The emulated IOMMU of L1. */
export type LabIommu = false | 'intel' | 'amd';

/** What L1 is. */
export interface LabMachine {
  /** RAM of L1 in MiB. */
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly iommu: LabIommu;
}

/**
 * The defaults of {@link LabMachine}. One CPU: on more, QEMU 7.2 lost one boot of a nested guest in some fifteen, under QEMU's own KVM
 * front end as under ours. Seen: a processor that halts with interrupts held off (GIF 0), and rewritten code that goes on being executed
 * (src/vmm/emulated-host.ts). A second CPU made a guest's boot a quarter faster.
 */
export const DEFAULT_LAB_MACHINE: LabMachine = { memoryMiB: 2048, cpus: 1, iommu: false };

/** Below this L1 has no room for its root's overlay. */
const MIN_MEMORY_MIB = 384;
const MAX_CPUS = 64;

/** The descriptors of QEMU's end of each virtio-serial port, and of its monitor. */
export const PORT_FD = { control: 3, stdin: 4, stdout: 5, stderr: 6, monitor: 7 } as const;
export type PortName = keyof typeof PORT_FD;

/** A disk image of the host as a virtio disk of L1: /dev/vda and so on, once L1 has loaded virtio_blk. */
export interface LabDisk {
  /** Absolute path of a raw image or a block device. */
  readonly path: string;
  readonly readOnly?: boolean;
}

/** Everything that the command line names. */
export interface QemuInputs {
  readonly machine: LabMachine;
  readonly vmlinux: string;
  readonly initramfs: string;
  /** The exchange share's folder on the host. */
  readonly exchange: string;
  /** Ports with a descriptor ({@link PORT_FD}); the others lead nowhere. */
  readonly ports: readonly PortName[];
  /** Where the state of a parked L1 is, to continue from instead of booting (template.ts). */
  readonly state?: string;
  /** `placeholder`: a disk of which a template knows only that it will be there. */
  readonly disks?: readonly (LabDisk | 'placeholder')[];
  /** Further QEMU arguments: devices for L1. */
  readonly devices?: readonly string[];
}

/** Refuses a machine that cannot be. Throws {@link LabOptionError}. */
export function checkLabMachine(machine: LabMachine, hostBytes = totalmem()): void {
  const refuse = (message: string, hint?: string) => {
    throw new LabOptionError(message, { code: 'LAB_OPTION', hint });
  };
  const { memoryMiB, cpus } = machine;
  if (!Number.isInteger(memoryMiB) || memoryMiB < MIN_MEMORY_MIB) {
    refuse(`the lab's memory must be at least ${MIN_MEMORY_MIB} MiB`);
  }
  const hostMiB = Math.floor(hostBytes / 2 ** 20);
  if (memoryMiB > hostMiB)
    refuse(`the lab's memory of ${memoryMiB} MiB is more than this host has (${hostMiB} MiB)`);
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS)
    refuse(`the lab has 1 to ${MAX_CPUS} CPUs, not ${cpus}`);
}

/** L1's kernel command line. Nothing is guarded against in an emulated machine: mitigations only cost instructions. */
export function kernelCommandLine(): string {
  return [
    'console=ttyS0',
    'quiet',
    // A loaded host makes the watchdog distrust the TSC; the HPET that it falls back to is an exit to QEMU a reading.
    'tsc=reliable',
    'no_timer_check',
    'nowatchdog',
    'cryptomgr.notests',
    'panic=-1',
    'mitigations=off',
    'iommu=pt',
    '8250.nr_uarts=1',
  ].join(' ');
}

/** QEMU's arguments for L1. */
export function qemuArguments(inputs: QemuInputs): string[] {
  const { machine } = inputs;
  const args = [
    // The kernel looks at every device that is there: leave out what L1 has no use for.
    ...['-M', 'q35,sata=off,smbus=off'],
    // Room for the translations of V8 and of a nested kernel; pages that are not used cost nothing.
    ...['-accel', 'tcg,thread=multi,tb-size=1024'],
    ...['-cpu', 'max,+svm,+npt,-erms,-fsrm'],
    ...['-m', `${machine.memoryMiB}`, '-smp', `${machine.cpus}`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-kernel', inputs.vmlinux, '-initrd', inputs.initramfs, '-append', kernelCommandLine()],
    ...iommuArguments(machine.iommu),
    ...['-virtfs', share('/', MOUNT_TAG.root, 'readonly=on,multidevs=remap')],
    ...['-virtfs', share(inputs.exchange, MOUNT_TAG.exchange, 'multidevs=remap')],
    // Tells a clone's kernel that it is one: its random numbers must not be the template's.
    ...['-device', 'vmgenid,guid=auto'],
    ...['-device', 'virtio-serial-pci'],
  ];
  for (const [name, fd] of Object.entries(PORT_FD)) {
    const used = inputs.ports.some((port) => port === name);
    args.push('-chardev', used ? `socket,id=${name},fd=${fd}` : `null,id=${name}`);
  }
  for (const [name, number] of Object.entries(PORT)) {
    args.push('-device', `virtserialport,chardev=${name},nr=${number},name=tvmm.${name}`);
  }
  for (const [index, disk] of (inputs.disks ?? []).entries()) args.push(...diskArguments(disk, index));
  if (inputs.ports.includes('monitor')) args.push('-mon', 'chardev=monitor,mode=control');
  if (inputs.state !== undefined) args.push('-incoming', `exec:cat ${shellQuote(inputs.state)}`);
  return [...args, ...(inputs.devices ?? [])];
}

/** What L1 sees of a disk before it loads the driver is the same for every image. */
function diskArguments(disk: LabDisk | 'placeholder', index: number): string[] {
  const drive =
    disk === 'placeholder'
      ? 'driver=null-co,read-zeroes=on'
      : `format=raw,discard=unmap,file=${escapeComma(disk.path)}${disk.readOnly === true ? ',readonly=on' : ''}`;
  return [
    ...['-drive', `if=none,id=disk${index},${drive}`],
    ...['-device', `virtio-blk-pci,drive=disk${index},serial=tvmm-disk${index}`],
  ];
}

function iommuArguments(iommu: LabIommu): string[] {
  if (iommu === 'intel') return ['-device', 'intel-iommu,intremap=on'];
  if (iommu === 'amd') return ['-device', 'amd-iommu,intremap=on'];
  return [];
}

function share(path: string, tag: string, options: string): string {
  return `local,path=${escapeComma(path)},mount_tag=${tag},security_model=none,${options}`;
}

/** A comma ends an option in QEMU's syntax; a doubled one is a comma. */
function escapeComma(path: string): string {
  return path.replaceAll(',', ',,');
}

/** QEMU 6.2: the oldest release that these arguments are meant for. */
const OLDEST_QEMU = [6, 2] as const;
const QEMU = 'qemu-system-x86_64';

/** The absolute path of the host's QEMU. Throws {@link LabStartError} when it is missing. */
export function findQemu(path = process.env.PATH ?? '/usr/bin'): string {
  for (const folder of path.split(delimiter).filter((one) => one !== '')) {
    try {
      accessSync(join(folder, QEMU), constants.X_OK);
      return join(folder, QEMU);
    } catch {
      // The next folder may have it.
    }
  }
  throw new LabStartError(`the lab cannot start: ${QEMU} is not installed`, {
    code: 'LAB_NO_QEMU',
    hint: 'apt-get install qemu-system-x86',
  });
}

/** Asks QEMU for its version (`7.2.22`). Throws {@link LabStartError} when it is too old or does not run. */
export async function checkQemu(qemu: string): Promise<string> {
  const said = (await runCommand(qemu, ['--version'])).toString('utf8');
  return requireQemuVersion(said, qemu);
}

/** The version in what `qemu --version` prints, if it is new enough. */
export function requireQemuVersion(said: string, qemu: string): string {
  const match = /version (\d+)\.(\d+)(\.\d+)?/.exec(said);
  const [major, minor] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || major < OLDEST_QEMU[0] || (major === OLDEST_QEMU[0] && minor < OLDEST_QEMU[1])) {
    const what = match === null ? 'does not say its version' : `is version ${major}.${minor}`;
    throw new LabStartError(
      `the lab cannot start: ${qemu} ${what}, and it needs ${OLDEST_QEMU.join('.')} or later`,
      {
        code: 'LAB_OLD_QEMU',
        hint: 'apt-get install qemu-system-x86',
      },
    );
  }
  return match[0].slice('version '.length);
}
