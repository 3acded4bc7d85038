/**
 * Kernel command lines: splitting them as the kernel does, and merging the machine's defaults with what the user says
 * (Documentation/admin-guide/kernel-parameters.rst). It knows no parameter's meaning except the defaults' own.
 */
import type { Gpa } from '../memory/types.js';
import { CommandLineError } from './errors.js';

/**
 * The parameters of a command line, and what follows `--`, which goes to init as it is. Double quotes protect spaces
 * and stay where they are, as in the kernel's own next_arg().
 */
export function splitCmdline(text: string): { params: string[]; initArgs: string | undefined } {
  const params: string[] = [];
  let at = 0;
  while (at < text.length) {
    if (isSpace(text[at])) {
      at++;
      continue;
    }
    const start = at;
    for (let quoted = false; at < text.length && (quoted || !isSpace(text[at])); at++) {
      if (text[at] === '"') quoted = !quoted;
    }
    const param = text.slice(start, at);
    if (param === '--') return { params, initArgs: text.slice(at).trim() };
    params.push(param);
  }
  return { params, initArgs: undefined };
}

function isSpace(char: string | undefined): boolean {
  return char === ' ' || char === '\t';
}

/** The name before `=`; the kernel takes `-` and `_` in it for the same. */
export function paramName(param: string): string {
  return (param.split('=', 1)[0] ?? param).replaceAll('-', '_').replaceAll('"', '');
}

/**
 * Joins defaults and the user's command line into one. A default goes when the user names the same parameter, so that
 * `console=tty0` replaces `console=ttyS0` instead of adding to it. The order is defaults, then the user's, then `--`
 * and init's arguments.
 *
 * @throws CommandLineError `CMDLINE_BAD_CHARACTER` for line breaks and NULs.
 */
export function mergeCmdline(defaults: readonly string[], user: string): string {
  if (/[\0\r\n]/.test(user)) {
    throw new CommandLineError('the kernel command line has a line break or a NUL in it', {
      code: 'CMDLINE_BAD_CHARACTER',
      hint: 'write it in one line',
    });
  }
  const { params, initArgs } = splitCmdline(user);
  const named = new Set(params.map(paramName));
  const kept = defaults.filter((param) => !named.has(paramName(param)));
  const tail = initArgs === undefined ? [] : ['--', ...(initArgs === '' ? [] : [initArgs])];
  return [...kept, ...params, ...tail].join(' ');
}

/** A virtio-mmio device for kernels with CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES. */
export interface VirtioMmioParam {
  readonly base: Gpa;
  /** Bytes of the register window; a multiple of 1 KiB is written as such. */
  readonly size: number;
  /** The interrupt number the kernel registers: the GSI. */
  readonly gsi: number;
  /** Number of the platform device; default: the kernel counts. */
  readonly id?: number;
}

/** `virtio_mmio.device=<size>@<base>:<irq>[:<id>]` (drivers/virtio/virtio_mmio.c). */
export function virtioMmioParam({ base, size, gsi, id }: VirtioMmioParam): string {
  const length = size % 1024 === 0 ? `${size / 1024}K` : String(size);
  return `virtio_mmio.device=${length}@0x${base.toString(16)}:${gsi}${id === undefined ? '' : `:${id}`}`;
}

/**
 * Parameters that every Linux guest of this machine wants, unless its user says otherwise. Each spares exits for a
 * device that is not there or makes the guest's end visible to the VMM.
 */
export const LINUX_DEFAULT_PARAMS: readonly string[] = [
  'console=ttyS0', // the 16550A is the console
  'panic=-1', // a panicking guest resets at once, and the VMM sees it
  // Hardware-reduced ACPI makes Linux reset by EFI, which is not there, then through the BIOS's entry, where nothing is either: name
  // the FADT's RESET_REG (arch/x86/kernel/reboot.c, reboot_init).
  'reboot=acpi',
  '8250.nr_uarts=1', // one UART: do not probe the other three of a PC
];
