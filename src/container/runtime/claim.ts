/** Takes an id for a new container: at most one of several that want it gets it, and what a killed create has left goes first. */
import { destroy } from './delete.js';
import { ContainerExistsError, ContainerRecordError } from './errors.js';
import type { ContainerLock } from './lock.js';
import type { ContainerFolder } from './store.js';

/** At the end the folder is there, empty, and locked. @throws ContainerExistsError */
export async function claim(folder: ContainerFolder): Promise<ContainerLock> {
  for (let tries = 0; tries < 100; tries++) {
    const made = folder.make();
    const lock = folder.tryLock();
    if (lock === 'busy') throw new ContainerExistsError(folder.id);
    // Removed between the two calls by a delete.
    if (lock === undefined) continue;
    try {
      // Another one may have come and gone between the two.
      if (made && !folder.hasRecord) return lock;
      const record = folder.readRecord();
      if (record === undefined) return lock;
      if (record.phase === 'created') throw new ContainerExistsError(folder.id);
      // A create that was killed: nobody holds its lock.
      await destroy(folder, record);
      lock[Symbol.dispose]();
    } catch (error) {
      lock[Symbol.dispose]();
      if (error instanceof ContainerRecordError) throw new ContainerExistsError(folder.id);
      throw error;
    }
  }
  throw new ContainerExistsError(folder.id);
}
