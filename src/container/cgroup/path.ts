/**
 * `linux.cgroupsPath` (config-linux.md, "Cgroups Path") made into folders. Two notations: cgroupfs (`/a/b` below the mount point, `a/b`
 * below this process's own cgroup) and systemd's `slice:prefix:name`, which becomes the path that systemd would use
 * (systemd.slice(5)): `system.slice:tvmm:web` is `/system.slice/tvmm-web.scope`. No D-Bus: systemd is not told.
 */
import { posix } from 'node:path';
import { CgroupPathError } from './errors.js';
import type { CgroupPlace } from './layout.js';

/** How `cgroupsPath` is to be read; `auto` takes `x.slice:prefix:name` (or an empty slice) for systemd's. */
export type CgroupManager = 'cgroupfs' | 'systemd' | 'auto';

export interface PathRequest {
  /** The container's id: names the cgroup where no path is asked for. */
  readonly id: string;
  readonly cgroupsPath?: string;
  readonly manager?: CgroupManager;
  /** Without root, systemd's default slice is the user's. */
  readonly rootless?: boolean;
}

/** A cleaned path: absolute (`/a/b`: below the mount point) or relative (`a/b`: below the own cgroup). Never empty, no `..`. */
export function resolveCgroupPath(request: PathRequest): string {
  const { id, cgroupsPath = '', manager = 'auto' } = request;
  if (manager === 'systemd' || (manager === 'auto' && /^([^/:]+\.slice)?:[^/:]*:[^/:]+$/.test(cgroupsPath)))
    return systemdPath(request);
  const path = cgroupsPath === '' ? id : cgroupsPath;
  refuseBytes(path, cgroupsPath === '' ? 'container id' : 'cgroupsPath');
  // Cleaned as if `/` were the root, so that no number of `..` leads out.
  const clean = posix.normalize(`/${path}`).replace(/\/+$/, '');
  if (clean === '')
    throw new CgroupPathError(
      `cgroupsPath ${JSON.stringify(path)} names the root of the cgroup hierarchies`,
      {
        hint: 'A container needs a cgroup of its own: name one below the root.',
      },
    );
  return cgroupsPath.startsWith('/') ? clean : clean.slice(1);
}

/** The folder of a resolved path in a v1 hierarchy. Relative: below this process's own cgroup, whose limits stay in force. */
export function folderInV1(place: CgroupPlace, path: string): string {
  return posix.join(place.mountPoint, path.startsWith('/') ? path : posix.join(place.own, path));
}

/**
 * The folder of a resolved path in the cgroup2 hierarchy. Relative: beside this process's own cgroup, since a v2 cgroup that holds
 * processes cannot give controllers to its children (cgroup-v2.rst, "No Internal Process Constraint").
 */
export function folderInV2(place: CgroupPlace, path: string): string {
  return posix.join(
    place.mountPoint,
    path.startsWith('/') ? path : posix.join(posix.dirname(place.own), path),
  );
}

function systemdPath({ id, cgroupsPath = '', rootless = false }: PathRequest): string {
  refuseBytes(cgroupsPath, 'cgroupsPath');
  const parts = cgroupsPath === '' ? ['', 'tvmm', id] : cgroupsPath.split(':');
  const [slice, prefix, name] = parts;
  if (parts.length !== 3 || slice === undefined || prefix === undefined || name === undefined || name === '')
    throw new CgroupPathError(
      `cgroupsPath ${JSON.stringify(cgroupsPath)} is not in systemd's notation: expected slice:prefix:name`,
      { hint: 'For a path in the cgroup file system leave --systemd-cgroup out.' },
    );
  for (const part of [prefix, name]) {
    if (part.includes('/') || part === '.' || part === '..')
      throw new CgroupPathError(
        `cgroupsPath ${JSON.stringify(cgroupsPath)}: a unit's name has no slash in it`,
      );
  }
  const unit = name.endsWith('.slice') ? name : `${prefix === '' ? '' : `${prefix}-`}${name}.scope`;
  return posix.join(
    '/',
    expandSlice(slice === '' ? (rootless ? 'user.slice' : 'system.slice') : slice),
    unit,
  );
}

/**
 * The path of a slice: `a-b.slice` lies in `a.slice` (systemd.slice(5)). `-.slice` is the root.
 *
 * @throws CgroupPathError for what systemd would refuse
 */
export function expandSlice(slice: string): string {
  if (slice === '-.slice') return '/';
  const stem = slice.endsWith('.slice') ? slice.slice(0, -'.slice'.length) : '';
  if (stem === '' || stem.includes('/') || stem.startsWith('-') || stem.endsWith('-') || stem.includes('--'))
    throw new CgroupPathError(`${JSON.stringify(slice)} is no name of a systemd slice`, {
      hint: 'A slice is named like system.slice or machine-web.slice.',
    });
  let path = '';
  let prefix = '';
  for (const part of stem.split('-')) {
    prefix += prefix === '' ? part : `-${part}`;
    path += `/${prefix}.slice`;
  }
  return path;
}

function refuseBytes(path: string, what: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\x00-\x1f]/.test(path))
    throw new CgroupPathError(`${what} ${JSON.stringify(path)} holds control characters`);
  if (path.split('/').some((part) => Buffer.byteLength(part) > 255) || Buffer.byteLength(path) > 3000)
    throw new CgroupPathError(`${what} is too long for a path of the cgroup file system`);
}
