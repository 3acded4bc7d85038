/**
 * What can go wrong with the lab: one class an operation. A failure of L1 itself always carries the end of its console,
 * since that is where an emulated machine says why.
 */
import { TvmmError } from '../sys/errors.js';

/** The options given for the lab make no sense. */
export class LabOptionError extends TvmmError {}

/** The lab could not be brought up: no QEMU, no busybox, L1 stopped or stayed silent. */
export class LabStartError extends TvmmError {}

/** L1 ended, or stopped answering, while somebody counted on it. */
export class LabDiedError extends TvmmError {}

/** A job could not be handed to L1. */
export class LabJobError extends TvmmError {}

/** A job ran longer than its `timeoutMs`; its process group was killed. */
export class LabTimeoutError extends TvmmError {
  /** What the job had written by then. */
  readonly stdout: string;
  readonly stderr: string;

  constructor(message: string, options: { hint?: string; stdout: string; stderr: string }) {
    super(message, { code: 'LAB_TIMEOUT', hint: options.hint });
    this.stdout = options.stdout;
    this.stderr = options.stderr;
  }
}

/** How many lines of L1's console an error quotes. */
const QUOTED_LINES = 15;
/** What the kernel says first when it fails; a register dump of any length follows. */
const KERNEL_FAILURE = /Kernel panic|Oops|BUG:|Out of memory/;

/** The end of L1's console as a paragraph to append to a message; empty consoles are said to be so. */
export function consoleTail(console: string): string {
  const lines = console
    .replaceAll('\r', '')
    .split('\n')
    .filter((line) => line.trim() !== '');
  if (lines.length === 0) return '; its console is empty';
  const tail = lines.slice(-QUOTED_LINES);
  const failures = lines.slice(0, -QUOTED_LINES).filter((line) => KERNEL_FAILURE.test(line));
  const quoted = failures.length === 0 ? tail : [...failures.slice(0, 3), '…', ...tail];
  return `; its console last said:\n${quoted.map((line) => `  | ${line}`).join('\n')}`;
}
