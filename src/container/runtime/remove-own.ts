/** What `run` does with its container when the program has ended: it goes, if it is still the one that was made here. */
import { destroy, destroyEnded } from './delete.js';
import type { RuntimeEnvironment } from './environment.js';
import { ContainerNotFoundError } from './errors.js';
import { runHooksAnyway } from './hooks.js';
import type { ContainerLock } from './lock.js';
import type { ContainerRecord } from './record.js';
import { ociState } from './status.js';
import type { ContainerFolder } from './store.js';

/**
 * Removes a container and runs its poststop hooks. One that others have deleted meanwhile is none of ours, nor one that they have made anew
 * by the same name.
 *
 * @param ended its first process is known to have ended, and was waited for
 * @throws DeleteError, CgroupError
 */
export async function removeOwn(
  environment: RuntimeEnvironment,
  folder: ContainerFolder,
  record: ContainerRecord,
  ended = false,
): Promise<void> {
  let lock: ContainerLock;
  try {
    lock = await folder.lock();
  } catch (error) {
    if (error instanceof ContainerNotFoundError) return;
    throw error;
  }
  using _lock = lock;
  if (!isSame(folder, record)) return;
  await (ended ? destroyEnded : destroy)(folder, record);
  await runHooksAnyway('poststop', record.hooks?.poststop, ociState(record, 'stopped'), (message) =>
    environment.log.warn(message),
  );
}

function isSame(folder: ContainerFolder, { created, init }: ContainerRecord): boolean {
  const now = folder.readRecord();
  return now?.created === created && now.init?.pid === init?.pid && now.init?.startTime === init?.startTime;
}
