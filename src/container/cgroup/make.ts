/**
 * Makes the folders of a cgroup and readies them: a v1 cpuset takes its parent's CPUs and memory nodes (or no process could enter), v2
 * parents hand controllers down. What was made is remembered folder by folder, so that a failure takes back exactly that.
 */
import { existsSync, mkdirSync, rmdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { CgroupCreateError, cgroupHint, errnoOf } from './errors.js';
import { FolderFiles, readOptional } from './files.js';
import { ancestry, type CgroupFolder, type CgroupState, hierarchies, isOnCgroupfs } from './state.js';

/** Controllers that every container gets on v2 where they exist: what limits and statistics are usually about. */
const USUAL_CONTROLLERS = ['cpu', 'cpuset', 'io', 'memory', 'pids'];
/** Those that work in a threaded cgroup (cgroup-v2.rst, "Threads"). */
const THREADED_CONTROLLERS = ['cpu', 'cpuset', 'perf_event', 'pids'];
/** Someone who removes empty parents (the end of another container) may come between two of our steps. */
const TRIES = 10;

/**
 * The sticky bit tells a parent that we have made from one that others keep: it means nothing on a cgroup, and needs no file of its own.
 * So whoever is the last one below it takes it away, not only who made it.
 */
const PARENT_MODE = 0o1755;
const FOLDER_MODE = 0o755;
const STICKY = 0o1000;

/** What {@link makeFolders} found out. */
export interface Made {
  /** Folders that this call made, parents first. */
  readonly made: readonly string[];
  /** Hierarchies where a folder could not be made for want of permission, with the reason. */
  readonly denied: ReadonlyMap<string, string>;
}

/**
 * Makes every folder of `state` that is missing.
 *
 * @param tolerant leave out hierarchies that give EACCES, EPERM or EROFS: what rootless containers without an own path want
 * @throws CgroupCreateError; nothing that this call made is left then
 */
export function makeFolders(state: Pick<CgroupState, 'v1' | 'v2'>, tolerant: boolean): Made {
  const made: string[] = [];
  const denied = new Map<string, string>();
  for (const place of hierarchies(state)) {
    try {
      makeHierarchy(place, made);
      if (place.folder === state.v1.cpuset?.folder) inheritCpusets(place, made);
    } catch (cause) {
      const errno = errnoOf(cause);
      if (tolerant && ['EACCES', 'EPERM', 'EROFS'].includes(errno)) {
        denied.set(place.folder, errno);
        continue;
      }
      unmake(made);
      throw new CgroupCreateError(`cannot make the cgroup ${place.folder}: ${errno || String(cause)}`, {
        hint: cgroupHint(errno),
        cause,
      });
    }
  }
  return { made, denied };
}

/** Takes folders away again, the last made first; what is in use or gone already is left alone. */
export function unmake(made: readonly string[]): void {
  for (const folder of made.toReversed()) {
    try {
      rmdirSync(folder);
    } catch {
      // In use by others since, or gone: either way not ours any more.
    }
  }
}

/** Takes away the parents of a folder that is gone, as far as containers' cgroups have made them and nobody is in there. */
export function unmakeParents(place: CgroupFolder): void {
  if (dirname(place.folder) === place.mountPoint) return;
  for (const folder of ancestry(place).slice(0, -1).toReversed()) {
    try {
      const status = statSync(folder, { throwIfNoEntry: false });
      // Gone already; those above it may be left.
      if (status === undefined) continue;
      if ((status.mode & STICKY) === 0 || !isOnCgroupfs(folder)) return;
      rmdirSync(folder);
    } catch {
      // In use: those above it are, too.
      return;
    }
  }
}

function makeHierarchy(place: CgroupFolder, made: string[]): void {
  for (let tries = 1; ; tries++) {
    try {
      // Nearly always it is the last one alone that is missing.
      if (makeFolder(place.folder, FOLDER_MODE)) made.push(place.folder);
      return;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    try {
      // mkdir(2) for what exists already would cost an error thrown and caught for each parent.
      const missing = ancestry(place).filter((folder) => !existsSync(folder));
      for (const folder of missing)
        if (makeFolder(folder, folder === place.folder ? FOLDER_MODE : PARENT_MODE)) made.push(folder);
      return;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' || tries === TRIES || !isOnCgroupfs(place.mountPoint)) throw error;
    }
  }
}

/** @returns false when someone else has made it meanwhile */
function makeFolder(folder: string, mode: number): boolean {
  try {
    mkdirSync(folder, mode);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** A new v1 cpuset is empty, and attaching to it gives ENOSPC. v2's empty cpuset.cpus means "as the parent". */
function inheritCpusets(place: CgroupFolder, made: readonly string[]): void {
  let parent = new FolderFiles(place.mountPoint);
  for (const folder of ancestry(place)) {
    const files = new FolderFiles(folder);
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if (!made.includes(folder) && files.read(file).trim() !== '') continue;
      const inherited = parent.read(file).trim();
      if (inherited !== '') files.write(file, inherited);
    }
    parent = files;
  }
}

/**
 * Has every parent of a v2 folder hand `controllers` (and the usual ones) down, as far as they exist there.
 *
 * @returns controllers of `required` that the folder does not have afterwards, each with the reason
 */
export function enableControllers(place: CgroupFolder, required: readonly string[]): Map<string, string> {
  const wanted = new Set([...USUAL_CONTROLLERS, ...required]);
  const reasons = new Map<string, string>();
  for (const folder of [place.mountPoint, ...ancestry(place).slice(0, -1)]) {
    const files = new FolderFiles(folder);
    const available = words(readOptional(files, 'cgroup.controllers'));
    const enabled = words(readOptional(files, 'cgroup.subtree_control'));
    for (const controller of required) {
      if (!available.includes(controller) && !reasons.has(controller))
        reasons.set(controller, `${folder} has no ${controller} controller`);
    }
    const missing = available.filter((one) => wanted.has(one) && !enabled.includes(one));
    if (missing.length === 0) continue;
    for (const [controller, errno] of handDown(files, missing, required))
      reasons.set(controller, `${folder} cannot hand it down: ${whyNot(errno)}`);
  }
  const present = words(readOptional(new FolderFiles(place.folder), 'cgroup.controllers'));
  return new Map(
    required
      .filter((controller) => !present.includes(controller))
      .map((controller) => [controller, reasons.get(controller) ?? `${place.folder} lacks it`]),
  );
}

/** @returns what could not be handed down, with the errno */
function handDown(
  files: FolderFiles,
  missing: readonly string[],
  required: readonly string[],
): Map<string, string> {
  const write = (controllers: readonly string[]): string | undefined => {
    try {
      files.write('cgroup.subtree_control', controllers.map((one) => `+${one}`).join(' '));
      return undefined;
    } catch (error) {
      return errnoOf(error);
    }
  };
  const errno = write(missing);
  if (errno === undefined) return new Map();
  let rest = missing;
  if (errno === 'EBUSY') {
    // A cgroup with processes can hand down threaded controllers alone, and becomes a threaded domain by it: only if it must.
    rest = missing.filter((one) => required.includes(one));
    if (rest.some((one) => !THREADED_CONTROLLERS.includes(one)))
      return new Map(rest.map((one) => [one, errno]));
  }
  // One that cannot be enabled fails them all, so each is tried by itself.
  const refused = new Map<string, string>();
  for (const controller of rest) {
    const reason = write([controller]);
    if (reason !== undefined) refused.set(controller, reason);
  }
  return refused;
}

function whyNot(errno: string): string {
  if (errno === 'EBUSY') return 'EBUSY, it holds processes of its own';
  if (errno === 'EOPNOTSUPP') return 'EOPNOTSUPP, it is a threaded cgroup';
  return errno;
}

export function words(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((word) => word !== '');
}

/**
 * A v2 cgroup below one that holds processes may be "domain invalid" (cgroup-v2.rst, "Threads"): it takes processes only as a threaded
 * cgroup, which has no memory and io controllers.
 *
 * @throws CgroupCreateError when such a controller is needed
 */
export function readyForProcesses({ folder }: CgroupFolder, required: readonly string[]): void {
  const files = new FolderFiles(folder);
  const type = readOptional(files, 'cgroup.type')?.trim();
  if (type !== 'domain invalid') return;
  const domain = required.filter((one) => !THREADED_CONTROLLERS.includes(one));
  if (domain.length > 0)
    throw new CgroupCreateError(
      `${folder} cannot have the ${domain.join(' and ')} controller: a parent cgroup is threaded`,
      { hint: 'Choose a cgroupsPath outside of the threaded subtree.' },
    );
  files.write('cgroup.type', 'threaded');
}
