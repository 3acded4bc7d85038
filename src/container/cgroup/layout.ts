/**
 * Where this machine has its cgroups: /proc/self/mountinfo (proc(5)) and /proc/self/cgroup (cgroups(7)) made into a
 * {@link CgroupLayout}. Version 1, version 2 and both at once ("hybrid") are looked up controller by controller, so nothing below cares
 * which of the three it is.
 */
import { readFileSync } from 'node:fs';
import { CgroupLayoutError, cgroupHint, errnoOf } from './errors.js';

/** One hierarchy, as this process sees it. */
export interface CgroupPlace {
  /** Absolute path of the mount. */
  readonly mountPoint: string;
  /** This process's cgroup below the mount point: `/` or `/a/b`. */
  readonly own: string;
}

/** The cgroup2 hierarchy. */
export interface UnifiedPlace extends CgroupPlace {
  /** cgroup.controllers of the mount point; in a hybrid layout those that no v1 hierarchy has taken. */
  readonly controllers: readonly string[];
}

export interface CgroupLayout {
  readonly version: 'v1' | 'hybrid' | 'v2';
  /** v1 hierarchies by controller; named ones as `name=systemd`. Controllers mounted together share a place. */
  readonly v1: ReadonlyMap<string, CgroupPlace>;
  readonly v2?: UnifiedPlace;
}

/** The texts that a layout is made of. */
export interface LayoutSources {
  readonly mountinfo: string;
  readonly cgroup: string;
  /** cgroup.controllers of the cgroup2 mount at this path. */
  readonly controllers: (mountPoint: string) => string;
}

interface Mount {
  readonly mountPoint: string;
  readonly root: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** mountinfo writes space, tab, newline and backslash in octal. */
function unescapeOctal(path: string): string {
  if (!path.includes('\\')) return path;
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** The cgroup and cgroup2 mounts. Lines: `31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup cgroup rw,cpu`. */
function cgroupMounts(mountinfo: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of mountinfo.split('\n')) {
    const separator = line.indexOf(' - ');
    if (separator < 0) continue;
    const [type, , options] = line.slice(separator + 3).split(' ');
    if (type !== 'cgroup' && type !== 'cgroup2') continue;
    const [, , , root, mountPoint] = line.slice(0, separator).split(' ');
    if (root === undefined || mountPoint === undefined) continue;
    mounts.push({
      type,
      root: unescapeOctal(root),
      mountPoint: unescapeOctal(mountPoint),
      options: (options ?? '').split(','),
    });
  }
  return mounts;
}

/** `own` (as /proc/self/cgroup has it) below a mount of `root`; undefined when it lies outside. */
function below(root: string, own: string): string | undefined {
  // A process outside of its cgroup namespace's root is shown as /../other.
  if (own.split('/').includes('..')) return undefined;
  if (root === '/') return own;
  if (own === root) return '/';
  return own.startsWith(`${root}/`) ? own.slice(root.length) : undefined;
}

/** The mount that shows this process's own cgroup; else the first. Containers have bind mounts of parts of a hierarchy. */
function place(mounts: readonly Mount[], own: string): CgroupPlace | undefined {
  let first: CgroupPlace | undefined;
  for (const { mountPoint, root } of mounts) {
    const path = below(root, own);
    if (path !== undefined) return { mountPoint, own: path };
    first ??= { mountPoint, own: '/' };
  }
  return first;
}

/** Makes the layout of recorded or live texts. @throws CgroupLayoutError when there is no cgroup mount at all */
export function parseLayout({ mountinfo, cgroup, controllers }: LayoutSources): CgroupLayout {
  const mounts = cgroupMounts(mountinfo);
  const v1 = new Map<string, CgroupPlace>();
  let v2: UnifiedPlace | undefined;
  for (const line of cgroup.split('\n')) {
    // `4:memory:/a/b`, `9:name=systemd:/`, `0::/user.slice`; the path may hold colons.
    const match = /^(\d+):([^:]*):(\/.*)$/.exec(line);
    if (match === null) continue;
    const [, id = '', list = '', own = '/'] = match;
    if (id === '0' && list === '') {
      const found = place(
        mounts.filter(({ type }) => type === 'cgroup2'),
        own,
      );
      if (found !== undefined) v2 = { ...found, controllers: words(controllers(found.mountPoint)) };
      continue;
    }
    for (const controller of list.split(',')) {
      const found = place(
        mounts.filter(({ type, options }) => type === 'cgroup' && options.includes(controller)),
        own,
      );
      if (found !== undefined) v1.set(controller, found);
    }
  }
  const controlled = [...v1.keys()].some((controller) => !controller.startsWith('name='));
  if (v2 === undefined) {
    if (controlled) return { version: 'v1', v1 };
    throw new CgroupLayoutError('no cgroup file system is mounted', {
      hint: 'Mount one: mount -t cgroup2 none /sys/fs/cgroup.',
    });
  }
  return { version: controlled ? 'hybrid' : 'v2', v1, v2 };
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

/** The layout of this machine, as the process `pid` (default: this one) sees it. @throws CgroupLayoutError */
export function readLayout(pid: number | 'self' = 'self'): CgroupLayout {
  const read = (path: string): string => {
    try {
      return readFileSync(path, 'utf8');
    } catch (cause) {
      const errno = errnoOf(cause);
      throw new CgroupLayoutError(`cannot read ${path}: ${errno}`, { hint: cgroupHint(errno), cause });
    }
  };
  return parseLayout({
    mountinfo: read(`/proc/${pid}/mountinfo`),
    cgroup: read(`/proc/${pid}/cgroup`),
    controllers: (mountPoint) => read(`${mountPoint}/cgroup.controllers`),
  });
}

/**
 * The cgroup v2 folder that a process is in, as this process sees it; undefined when it has ended or is outside of what is mounted here.
 * What `exec` enters where the container's own cgroup takes no processes any more, since it hands controllers to children (EBUSY).
 */
export function unifiedFolderOf(layout: CgroupLayout, pid: number): string | undefined {
  if (layout.v2 === undefined) return undefined;
  try {
    const { v2 } = parseLayout({
      mountinfo: readFileSync('/proc/self/mountinfo', 'utf8'),
      cgroup: readFileSync(`/proc/${pid}/cgroup`, 'utf8'),
      controllers: () => '',
    });
    return v2 === undefined ? undefined : `${v2.mountPoint}${v2.own}`.replace(/\/+$/, '');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(errnoOf(error))) return undefined;
    throw error;
  }
}
