/**
 * Removes a cgroup's folders: children first (the container may have made some), with patience for EBUSY, since the last process of a
 * cgroup leaves it a little after its parent was told. Nothing but folders of a cgroup file system is touched, and none outside of it.
 */
import { existsSync, rmdirSync } from 'node:fs';
import { delay } from '../../sys/time.js';
import { CgroupRemoveError, cgroupHint, errnoOf } from './errors.js';
import { childFolders, pidsOf } from './processes.js';
import { isOnCgroupfs } from './state.js';

/** How long to be patient with EBUSY, over all the hierarchies of a cgroup together. */
export const PATIENCE_MS = 1000;

/**
 * Removes one folder and what is below it. One that does not exist is removed already.
 *
 * @param deadline until when (Date.now()) EBUSY is worth another try
 * @throws CgroupRemoveError
 */
export async function removeFolder(folder: string, deadline: number): Promise<void> {
  if (!isOnCgroupfs(folder)) {
    if (!existsSync(folder)) return;
    throw new CgroupRemoveError(`${folder} is not on a cgroup file system, so it is left alone`);
  }
  // The usual case needs one call.
  if (tryRemove(folder) === undefined) return;
  for (let pause = 1; ; pause *= 2) {
    removeChildren(folder);
    const errno = tryRemove(folder);
    if (errno === undefined) return;
    if (errno !== 'EBUSY' || Date.now() >= deadline) throw removeError(folder, errno);
    await delay(pause);
  }
}

/** Removes a folder that is known to be a cgroup of ours. @returns false when something is in it */
export function removeEmpty(folder: string): boolean {
  return tryRemove(folder) === undefined;
}

/** Children deepest first; what does not go now is met again at the next try. */
function removeChildren(folder: string): void {
  for (const child of childFolders(folder)) {
    if (tryRemove(child) === undefined) continue;
    removeChildren(child);
    tryRemove(child);
  }
}

/** @returns undefined when the folder is gone, else the errno */
function tryRemove(folder: string): string | undefined {
  try {
    rmdirSync(folder);
    return undefined;
  } catch (error) {
    const errno = errnoOf(error);
    return errno === 'ENOENT' ? undefined : errno;
  }
}

function removeError(folder: string, errno: string): CgroupRemoveError {
  const pids = pidsOf(folder, true);
  if (errno === 'EBUSY' && pids.length > 0)
    return new CgroupRemoveError(
      `cannot remove the cgroup ${folder}: it still holds ${pids.length === 1 ? 'process' : 'processes'} ${pids.slice(0, 10).join(', ')}`,
      { hint: 'Kill them first.' },
    );
  return new CgroupRemoveError(`cannot remove the cgroup ${folder}: ${errno}`, { hint: cgroupHint(errno) });
}
