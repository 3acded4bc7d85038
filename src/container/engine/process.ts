/**
 * Processes that the engine remembers over its own life: a pid alone may have been given to another process, so it is kept with the
 * process's start time (proc_pid_stat(5), field 22) and the boot it belongs to.
 */
import { readFileSync } from 'node:fs';
import { number, object, text } from './shape.js';

export const processShape = object({
  pid: number,
  /** Clock ticks after boot. */
  startTime: text,
  /** /proc/sys/kernel/random/boot_id */
  boot: text,
});
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string;
  readonly boot: string;
}

/** Fields behind the command's name, which may itself hold spaces and parentheses. */
function statFields(pid: number): readonly string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

/** Who `pid` is now; undefined when there is nobody, or only a zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
  const fields = statFields(pid);
  const [state] = fields ?? [];
  // Field 22 of the whole line; the first of `fields` is field 3.
  const startTime = fields?.[19];
  if (startTime === undefined || state === 'Z' || state === 'X') return undefined;
  return { pid, startTime, boot: bootId() };
}

/** The machine has been started anew since: it cannot run, whoever has its pid now. */
export function isOfEarlierBoot(identity: ProcessIdentity): boolean {
  return identity.boot !== bootId();
}

/** Whether that very process still runs. */
export function isAlive(identity: ProcessIdentity | undefined): boolean {
  if (identity === undefined) return false;
  const now = identify(identity.pid);
  return now !== undefined && now.startTime === identity.startTime && now.boot === identity.boot;
}
