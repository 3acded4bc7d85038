/** The text formats of cgroup files, read leniently: lines that this code does not know are skipped, as newer kernels add some. */

/** `key value` lines: memory.stat, cpu.stat, memory.events. */
export function parseKeyValues(text: string): Record<string, number> {
  const values: Record<string, number> = {};
  for (const line of text.split('\n')) {
    const match = /^(\S+) (\d+)$/.exec(line);
    if (match?.[1] !== undefined) values[match[1]] = Number(match[2]);
  }
  return values;
}

/** A file with one number; `max` is {@link UNLIMITED}. */
export function parseCount(text: string | undefined): number {
  const word = (text ?? '').trim();
  if (word === 'max') return UNLIMITED;
  return /^\d+$/.test(word) ? Number(word) : 0;
}

/** What `max` is in statistics: 2^64 - 1, as near as a number comes; printed in full by `formatStats`. */
export const UNLIMITED = 2 ** 64;

/** `0-3,7` to its numbers. */
export function parseCpuList(text: string | undefined): number[] {
  const numbers: number[] = [];
  for (const part of (text ?? '').trim().split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (match === null) continue;
    const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
    for (let one = first; one <= last && numbers.length < 65_536; one++) numbers.push(one);
  }
  return numbers;
}

/** One line of a pressure file: shares of time in percent, and the total in microseconds. */
export interface PressureLine {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly total: number;
}

/** Pressure stall information (Documentation/accounting/psi.rst). */
export interface Pressure {
  readonly some: PressureLine;
  readonly full: PressureLine;
}

const NO_PRESSURE: PressureLine = { avg10: 0, avg60: 0, avg300: 0, total: 0 };

/** `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and the same for `full`, which cpu.pressure of old kernels lacks. */
export function parsePressure(text: string): Pressure {
  const line = (name: string): PressureLine => {
    const match = new RegExp(
      `^${name} avg10=([\\d.]+) avg60=([\\d.]+) avg300=([\\d.]+) total=(\\d+)`,
      'm',
    ).exec(text);
    if (match === null) return NO_PRESSURE;
    const [avg10 = 0, avg60 = 0, avg300 = 0, total = 0] = match.slice(1).map(Number);
    return { avg10, avg60, avg300, total };
  };
  return { some: line('some'), full: line('full') };
}

/** A counter of a block device. */
export interface BlkioEntry {
  readonly major: number;
  readonly minor: number;
  /** `Read`, `Write`, `Total` …; empty where the file does not tell. */
  readonly op: string;
  readonly value: number;
}

/** v1: `8:0 Read 1282048`, `8:0 6792`. The sums over all devices are left out. */
export function parseBlkio(text: string): BlkioEntry[] {
  const entries: BlkioEntry[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\d+):(\d+) (?:(\w+) )?(\d+)$/.exec(line);
    if (match !== null)
      entries.push({
        major: Number(match[1]),
        minor: Number(match[2]),
        op: match[3] ?? '',
        value: Number(match[4]),
      });
  }
  return entries;
}

/** v2's io.stat: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`, told as v1 would. */
export function parseIoStat(text: string): { bytes: BlkioEntry[]; operations: BlkioEntry[] } {
  const bytes: BlkioEntry[] = [];
  const operations: BlkioEntry[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\d+):(\d+) (.*)$/.exec(line);
    if (match?.[3] === undefined) continue;
    const [major, minor] = [Number(match[1]), Number(match[2])];
    const values = new Map(
      match[3].split(' ').map((pair) => [pair.split('=')[0], Number(pair.split('=')[1])]),
    );
    const take = (list: BlkioEntry[], key: string, op: string) => {
      const value = values.get(key);
      if (value !== undefined && Number.isFinite(value)) list.push({ major, minor, op, value });
    };
    take(bytes, 'rbytes', 'Read');
    take(bytes, 'wbytes', 'Write');
    take(operations, 'rios', 'Read');
    take(operations, 'wios', 'Write');
  }
  return { bytes, operations };
}
