/** What an engine holds, and what is left on the machine, before and after many containers. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Census {
  readonly descriptors: number;
  readonly threads: number;
  /** KiB */
  readonly rss: number;
  readonly mounts: number;
  readonly cgroups: number;
  readonly containers: number;
}

function foldersBelow(folder: string): number {
  let count = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) count += 1 + foldersBelow(join(folder, entry.name));
  }
  return count;
}

function namesIn(folder: string): number {
  try {
    return readdirSync(folder).length;
  } catch {
    return 0;
  }
}

/** @param pid of the engine @param root folder of its containers */
export function census(pid: number, root: string): Census {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    rss: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0),
    mounts: readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n').length - 1,
    cgroups: foldersBelow('/sys/fs/cgroup'),
    containers: namesIn(root),
  };
}
