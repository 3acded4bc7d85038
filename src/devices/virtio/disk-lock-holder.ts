/**
 * Who holds a lock on a file: best effort, for an error message. Open-file-description locks have no owner for the kernel to name (their pid
 * reads as -1), but /proc/PID/fdinfo shows the locks behind each descriptor.
 */
import { fstatSync, readdirSync, readFileSync, statSync } from 'node:fs';

export interface LockHolder {
  readonly pid: number;
  /** The process's name as in /proc/PID/comm. */
  readonly command: string;
}

/** The process that holds a lock on the file that `fd` names; undefined when none is visible to this user. */
export function lockHolder(fd: number): LockHolder | undefined {
  const { dev, ino } = fstatSync(fd);
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    // Processes come and go, and other users' are closed to us.
    const holder = ignoringErrors(() => inspect(Number(entry), fd, dev, ino));
    if (holder !== undefined) return holder;
  }
  return undefined;
}

function inspect(pid: number, ownFd: number, dev: number, ino: number): LockHolder | undefined {
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    if (pid === process.pid && Number(name) === ownFd) continue;
    const locked = ignoringErrors(() => {
      const stats = statSync(`/proc/${pid}/fd/${name}`);
      if (stats.ino !== ino || stats.dev !== dev) return false;
      return /^lock:/m.test(readFileSync(`/proc/${pid}/fdinfo/${name}`, 'utf8'));
    });
    if (locked === true) return { pid, command: readFileSync(`/proc/${pid}/comm`, 'utf8').trim() };
  }
  return undefined;
}

function ignoringErrors<T>(body: () => T): T | undefined {
  try {
    return body();
  } catch {
    return undefined;
  }
}
