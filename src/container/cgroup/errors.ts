/** What can fail with cgroups: one class an operation, each with a stable code, each naming the folder or file it failed on. */
import { TvmmError } from '../../sys/errors.js';

interface Details {
  readonly hint?: string;
  readonly cause?: unknown;
}

/** Any failure of this folder's code. */
export abstract class CgroupError extends TvmmError {}

/** The machine's cgroup mounts cannot be read or make no sense. */
export class CgroupLayoutError extends CgroupError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CGROUP_LAYOUT', ...details });
  }
}

/** A `cgroupsPath` that names no cgroup. */
export class CgroupPathError extends CgroupError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CGROUP_PATH', ...details });
  }
}

/** A cgroup's folder cannot be made, or must not be used. */
export class CgroupCreateError extends CgroupError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CGROUP_CREATE', ...details });
  }
}

/** A limit that was asked for cannot be set. */
export class CgroupLimitError extends CgroupError {
  /** The controller that the limit belongs to: `memory`, `cpuset`. */
  readonly controller: string;
  /** The file that should have taken it, where there is one. */
  readonly file: string | undefined;

  constructor(message: string, details: Details & { controller: string; file?: string }) {
    super(message, { code: 'CGROUP_LIMIT', hint: details.hint, cause: details.cause });
    this.controller = details.controller;
    this.file = details.file;
  }
}

/** A device rule is malformed, cannot be expressed, or is refused by the kernel. */
export class CgroupDevicesError extends CgroupError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CGROUP_DEVICES', ...details });
  }
}

/** A process cannot be moved into the cgroup. */
export class CgroupAttachError extends CgroupError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CGROUP_ATTACH', ...details });
  }
}

/** Processes cannot be stopped, set going again, killed or counted. */
export class CgroupProcessError extends CgroupError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CGROUP_PROCESSES', ...details });
  }
}

/** The cgroup cannot be removed. */
export class CgroupRemoveError extends CgroupError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CGROUP_REMOVE', ...details });
  }
}

/** Counters or events of the cgroup cannot be read. */
export class CgroupStatsError extends CgroupError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CGROUP_STATS', ...details });
  }
}

/** A saved description of a cgroup is none. */
export class CgroupStateError extends CgroupError {
  constructor(message: string, details: Details = {}) {
    super(message, { code: 'CGROUP_STATE', ...details });
  }
}

/** The errno name of a failed node:fs call or system call; the empty string for anything else. */
export function errnoOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

/** What usually stands behind an errno of cgroupfs, and what to do about it. */
export function cgroupHint(errno: string): string | undefined {
  switch (errno) {
    case 'EACCES':
    case 'EPERM':
      return 'Run as root, or have the cgroup delegated to this user (systemd: Delegate=yes; see cgroups(7)).';
    case 'EROFS':
      return 'The cgroup file system is mounted read-only here: mount it read-write, or run outside of the container.';
    case 'ENOENT':
    case 'ENODEV':
      return 'The cgroup is gone, or this kernel lacks the feature.';
    case 'ENOSPC':
      return 'The cpuset of this cgroup has no CPU or no memory node: set cpu.cpus and cpu.mems to what its parent has.';
    case 'EBUSY':
      return 'The cgroup holds processes or child cgroups that forbid it.';
    default:
      return undefined;
  }
}
