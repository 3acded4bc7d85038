/**
 * Files that are whole or not there, also after a power cut: written beside their place, synced, renamed.
 */
import { randomBytes } from 'node:crypto';
import { chmod, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isTooLong, removeDeepTree } from '../../sys/remove-tree.js';

/** A name for something unfinished. */
export function temporaryName(prefix: string): string {
  return `${prefix}-${process.pid}-${randomBytes(6).toString('hex')}`;
}

/** Makes a rename durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces a file at once. @param scratch a folder of the same file system */
export async function writeWhole(path: string, bytes: Uint8Array | string, scratch: string): Promise<void> {
  const temporary = join(scratch, temporaryName('file'));
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/**
 * Removes a tree, also where a user who is not root has folders in it that are closed to their own owner, and where folders are nested
 * deeper than paths reach.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (isTooLong(error)) {
      removeDeepTree(path);
      return;
    }
    if (process.geteuid?.() === 0) throw error;
    await openFolders(path);
    await rm(path, { recursive: true, force: true });
  }
}

async function openFolders(path: string): Promise<void> {
  await chmod(path, 0o700);
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await openFolders(join(path, entry.name));
  }
}
