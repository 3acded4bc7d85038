/** What `events` prints: statistics and OOM events as JSON lines, in the shape of runc's (its types/events.go). */
import { readFileSync } from 'node:fs';
import { formatStats } from '../cgroup/stats.js';
import { ContainerStatusError } from './errors.js';
import type { ContainerRecord } from './record.js';
import { cgroupOf } from './status.js';

/** One line, without its end. @throws ContainerStatusError, CgroupStatsError */
export function statsLine(record: ContainerRecord): string {
  const cgroup = cgroupOf(record);
  if (cgroup === undefined)
    throw new ContainerStatusError(`container ${record.id} has no cgroup to count in`);
  const data = {
    ...cgroup.stats(),
    intel_rdt: {},
    network_interfaces: record.init === undefined ? [] : networkInterfaces(record.init.pid),
  };
  return formatStats({ type: 'stats', id: record.id, data });
}

export function oomLine(id: string): string {
  return JSON.stringify({ type: 'oom', id });
}

/** Counters of /proc/PID/net/dev: of the network namespace that the process is in. The loopback's are left out, as in runc. */
function networkInterfaces(pid: number): unknown[] {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/net/dev`, 'utf8');
  } catch {
    return [];
  }
  return parseNetDev(text).filter(({ Name }) => Name !== 'lo');
}

/** Two lines of titles, then `name: 8 numbers received, 8 sent`. */
function parseNetDev(text: string): { Name: string; [counter: string]: string | number }[] {
  return text
    .split('\n')
    .slice(2)
    .flatMap((line) => {
      const at = line.lastIndexOf(':');
      if (at < 0) return [];
      const n = line
        .slice(at + 1)
        .trim()
        .split(/\s+/)
        .map(Number);
      return [
        {
          Name: line.slice(0, at).trim(),
          RxBytes: n[0] ?? 0,
          RxPackets: n[1] ?? 0,
          RxErrors: n[2] ?? 0,
          RxDropped: n[3] ?? 0,
          TxBytes: n[8] ?? 0,
          TxPackets: n[9] ?? 0,
          TxErrors: n[10] ?? 0,
          TxDropped: n[11] ?? 0,
        },
      ];
    });
}
