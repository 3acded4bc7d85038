/**
 * Where a container's cgroup is, as plain JSON: planned before anything is made, so that whoever finds it after a crash can remove exactly
 * what was made. Read back, its folders must be absolute, clean and below their mount; that they are cgroups is checked where they are removed,
 * since a state may outlive a reboot or a mount.
 */
import { existsSync, statfsSync } from 'node:fs';
import { posix } from 'node:path';
import { CgroupStateError, errnoOf } from './errors.js';
import { type CgroupLayout, readLayout } from './layout.js';
import { folderInV1, folderInV2, type PathRequest, resolveCgroupPath } from './path.js';

/** One hierarchy's part of a cgroup. */
export interface CgroupFolder {
  readonly folder: string;
  readonly mountPoint: string;
}

export interface CgroupState {
  /** v1 folders by controller (`memory`, `name=systemd`). */
  readonly v1: Readonly<Record<string, CgroupFolder>>;
  readonly v2?: CgroupFolder;
  /** Every folder that did not exist when this was planned, parents first: what a rollback and a removal take away. */
  readonly made: readonly string[];
}

/** CGROUP_SUPER_MAGIC and CGROUP2_SUPER_MAGIC of <linux/magic.h>. */
const CGROUP_SUPER_MAGIC = 0x27e0eb;
const CGROUP2_SUPER_MAGIC = 0x63677270;

/** True when `path` exists on a cgroup file system of either version. */
export function isOnCgroupfs(path: string): boolean {
  try {
    return [CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC].includes(statfsSync(path).type);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ENODEV'].includes(errnoOf(error))) return false;
    throw error;
  }
}

export interface PlanRequest extends PathRequest {
  readonly layout?: CgroupLayout;
}

/**
 * Finds out where a container's cgroup goes; makes nothing. Every v1 hierarchy with a controller is used, cgroup2 where it is mounted
 * (in a hybrid layout for cgroup.kill, pressure and the controllers that v1 has not), and systemd's own hierarchy, which a
 * systemd in the container needs whether or not one runs out here.
 *
 * @throws CgroupPathError, CgroupLayoutError
 */
export function planCgroup(request: PlanRequest): CgroupState {
  return withMissing(locateCgroup(request));
}

/** The same plan with what is missing now: to be saved before it is made. */
export function withMissing(state: CgroupState): CgroupState {
  return { ...state, made: hierarchies(state).flatMap(missingFolders) };
}

/** As {@link planCgroup}, without a look at what is there already. @throws CgroupPathError, CgroupLayoutError */
export function locateCgroup({ layout = readLayout(), ...request }: PlanRequest): CgroupState {
  const path = resolveCgroupPath(request);
  const v1: Record<string, CgroupFolder> = {};
  for (const [controller, place] of layout.v1) {
    if (controller.startsWith('name=') && controller !== 'name=systemd') continue;
    v1[controller] = { folder: folderInV1(place, path), mountPoint: place.mountPoint };
  }
  const { v2: place } = layout;
  const v2 =
    place === undefined ? undefined : { folder: folderInV2(place, path), mountPoint: place.mountPoint };
  return { v1, ...(v2 === undefined ? {} : { v2 }), made: [] };
}

/** True on a machine whose init is systemd (sd_booted(3)). */
export function systemdRuns(): boolean {
  booted ??= existsSync('/run/systemd/system');
  return booted;
}

/** It does not become another one while this process lives. */
let booted: boolean | undefined;

/** Each hierarchy once: controllers that are mounted together share it. */
export function hierarchies(state: Pick<CgroupState, 'v1' | 'v2'>): CgroupFolder[] {
  const all = [...Object.values(state.v1), ...(state.v2 === undefined ? [] : [state.v2])];
  return [...new Map(all.map((one) => [one.folder, one])).values()];
}

/** A folder and its parents below the mount point, outermost first. */
export function ancestry({ folder, mountPoint }: CgroupFolder): string[] {
  const parts = posix.relative(mountPoint, folder).split('/');
  return parts.map((_, index) => posix.join(mountPoint, ...parts.slice(0, index + 1)));
}

/** From the last one upwards: nearly always that one alone is missing. */
function missingFolders({ folder, mountPoint }: CgroupFolder): string[] {
  const missing: string[] = [];
  for (let at = folder; at.length > mountPoint.length && !existsSync(at); at = posix.dirname(at))
    missing.unshift(at);
  return missing;
}

/** A saved state, checked. @throws CgroupStateError */
export function parseCgroupState(saved: unknown): CgroupState {
  const root = record(saved, 'the state');
  const v1: Record<string, CgroupFolder> = {};
  for (const [controller, place] of Object.entries(record(root.v1, 'v1')))
    v1[controller] = parseFolder(place, `v1 ${controller}`);
  const v2 = root.v2 === undefined ? undefined : parseFolder(root.v2, 'v2');
  const state = { v1, ...(v2 === undefined ? {} : { v2 }) };
  const known = new Set(hierarchies(state).flatMap(ancestry));
  if (!Array.isArray(root.made)) throw new CgroupStateError('saved cgroup: made is no list');
  const made = root.made.map((folder: unknown) => {
    if (typeof folder !== 'string' || !known.has(folder))
      throw new CgroupStateError(`saved cgroup: ${JSON.stringify(folder)} is no folder of this cgroup`);
    return folder;
  });
  return { ...state, made };
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CgroupStateError(`saved cgroup: ${what} is no object`);
  return { ...value };
}

function parseFolder(value: unknown, what: string): CgroupFolder {
  const { folder, mountPoint } = record(value, what);
  if (typeof folder !== 'string' || typeof mountPoint !== 'string')
    throw new CgroupStateError(`saved cgroup: ${what} names no folder`);
  for (const path of [folder, mountPoint]) {
    if (!path.startsWith('/') || path.includes('\0') || posix.normalize(path) !== path)
      throw new CgroupStateError(`saved cgroup: ${what}: ${JSON.stringify(path)} is no clean absolute path`);
  }
  if (!folder.startsWith(`${mountPoint === '/' ? '' : mountPoint}/`) || folder === mountPoint)
    throw new CgroupStateError(`saved cgroup: ${what}: ${folder} is not below a cgroup mount`);
  return { folder, mountPoint };
}
