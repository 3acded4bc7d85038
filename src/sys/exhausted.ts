/** What a machine has run out of when a call fails, as words for people: node:fs and the kernel say only the errno. */

/** What is used up, as a clause, and what to do about it. */
export interface Exhaustion {
  readonly what: string;
  readonly hint: string;
  /** Whether it is room on a disk. */
  readonly noSpace?: boolean;
}

const WATCHES: Readonly<Record<string, Exhaustion>> = {
  ENOSPC: {
    what: 'no inotify watch is left',
    hint: 'Raise fs.inotify.max_user_watches (sysctl), or end what watches many files.',
  },
  EMFILE: {
    what: 'no inotify instance is left',
    hint: 'Raise fs.inotify.max_user_instances (sysctl), or end what watches files.',
  },
};
const PROCESSES: Readonly<Record<string, Exhaustion>> = {
  EAGAIN: {
    what: 'no process can be started',
    hint: "The limit of processes is reached: of this command's cgroup (pids.max) or of its user (ulimit -u).",
  },
};
const ANY: Readonly<Record<string, Exhaustion>> = {
  ENOSPC: {
    what: 'the disk is full',
    hint: 'Make room there (space or inodes): tvmm rm and tvmm image prune remove what is not used.',
    noSpace: true,
  },
  EDQUOT: {
    what: 'the disk quota is used up',
    hint: 'Make room there, or have the quota raised.',
    noSpace: true,
  },
  EROFS: { what: 'the file system is read-only', hint: 'Mount it for writing, or choose another folder.' },
  EMFILE: { what: 'no file descriptor is left', hint: 'Raise the limit of open files (ulimit -n).' },
  ENFILE: {
    what: 'no file descriptor is left on this machine',
    hint: 'Raise fs.file-max (sysctl), or end what holds many files open.',
  },
  ENOMEM: {
    what: 'no memory is left',
    hint: "Raise the memory limit of this command's cgroup, or free some.",
  },
};

/** @param call that failed: `write`, `watch`, `spawn sh` @returns undefined where nothing is used up */
export function exhaustion(errno: string, call = ''): Exhaustion | undefined {
  if (/^(watch|inotify)/.test(call) && WATCHES[errno] !== undefined) return WATCHES[errno];
  if (/^(spawn|clone|fork|posix_spawn|uv_spawn)/.test(call) && PROCESSES[errno] !== undefined)
    return PROCESSES[errno];
  return ANY[errno];
}

/** Causes lie at most so deep. */
const DEPTH = 6;

/** The same of an error that was caught, or of what caused it. */
export function exhaustionOf(error: unknown): Exhaustion | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < DEPTH; at = at.cause, depth++) {
    if (!('code' in at) || typeof at.code !== 'string') continue;
    const found = exhaustion(at.code, 'syscall' in at ? String(at.syscall) : '');
    if (found !== undefined) return found;
  }
  return undefined;
}
