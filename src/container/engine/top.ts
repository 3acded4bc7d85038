/** The processes of a container as the host sees them (proc_pid_stat(5)). */
import { readFileSync, statSync } from 'node:fs';

export interface ContainerProcess {
  readonly pid: number;
  readonly parent: number;
  /** As the container counts it. */
  readonly containerPid: number;
  /** The host's user id. */
  readonly uid: number;
  /** R, S, D, Z, T … */
  readonly state: string;
  readonly terminal: string;
  /** Seconds of processor time. */
  readonly time: number;
  /** Bytes. */
  readonly memory: number;
  readonly command: string;
}

const TICKS = 100;
const PAGE = 4096;

/** `pts/0` for a dev_t of tty_nr. */
function terminalName(device: number): string {
  const major = (device >> 8) & 0xfff;
  return major >= 136 && major <= 143 ? `pts/${(device & 0xff) | ((device >>> 12) & 0xfff00)}` : '?';
}

/** Undefined when it has ended. */
function describe(pid: number): ContainerProcess | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const field = (n: number) => Number(fields[n - 3]);
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      .split('\0')
      .filter((word) => word !== '');
    const inner = /^NSpid:\s*(?:\d+\s+)*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return {
      pid,
      parent: field(4),
      containerPid: Number(inner ?? pid),
      uid: statSync(`/proc/${pid}`).uid,
      state: fields[0] ?? '?',
      terminal: terminalName(field(7)),
      time: (field(14) + field(15)) / TICKS,
      memory: field(24) * PAGE,
      command: words.length > 0 ? words.join(' ') : `[${name}]`,
    };
  } catch {
    return undefined;
  }
}

export function describeProcesses(pids: readonly number[]): ContainerProcess[] {
  return pids.flatMap((pid) => describe(pid) ?? []);
}
