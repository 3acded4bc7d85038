/**
 * What /proc/PID/stat (proc(5)) tells of a process. Pid and start time together name a process for as long as the machine runs, with the id of
 * that boot for ever; the pid alone may name another one tomorrow.
 */
import { readFileSync } from 'node:fs';
import { errnoOf } from './errors.js';

export interface ProcessName {
  readonly pid: number;
  /** Clock ticks since boot, as the kernel prints them. */
  readonly startTime: string;
  /** /proc/sys/kernel/random/boot_id; absent in records of versions that did not know it. */
  readonly boot?: string;
}

export interface ProcessInfo extends ProcessName {
  /** `R`, `S`, `D`, `T`, `Z`, … */
  readonly state: string;
}

/** Undefined when there is no such process. */
export function processInfo(pid: number): ProcessInfo | undefined {
  let text: string;
  try {
    // A name that is no UTF-8 is not looked at; this is Node's short way of reading, latin1 is not.
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(errnoOf(error))) return undefined;
    throw error;
  }
  return parseStat(pid, text);
}

/** The name of the program stands in parentheses and may hold any character, parentheses and spaces included. */
export function parseStat(pid: number, text: string): ProcessInfo | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  // Field 22 of the whole line; the first here is field 3.
  const startTime = fields[19];
  return state === undefined || startTime === undefined || !/^\d+$/.test(startTime)
    ? undefined
    : { pid, state, startTime };
}

/** The id of this boot; empty where the kernel does not tell. */
export function bootId(): string {
  if (boot === undefined) {
    try {
      boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    } catch {
      boot = '';
    }
  }
  return boot;
}

let boot: string | undefined;

/** True while the process exists and is no zombie. */
export function isAlive({ pid, startTime, boot }: ProcessName): boolean {
  const now = processInfo(pid);
  if (now === undefined || now.startTime !== startTime || ['Z', 'X', 'x'].includes(now.state)) return false;
  // Machines that boot alike give the same pid at the same tick.
  return boot === undefined || boot === bootId();
}
