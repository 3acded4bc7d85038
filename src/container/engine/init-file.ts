/**
 * The program of `--init` and of a pod's pause process: the launcher, of which each container gets a copy of its own, bound read-only. Even a
 * container that may remount it writable reaches neither another container's init nor the file that the host starts.
 */
import { chmodSync, copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { launcherPath } from '../launch/launcher-file.js';

const MODE = 0o555;

/** @param folder the container's */
export function initFile(folder: string): string {
  return join(folder, 'etc', 'init');
}

/** Makes the copy anew, for a start. */
export function makeInitFile(folder: string): void {
  const file = initFile(folder);
  mkdirSync(join(folder, 'etc'), { recursive: true, mode: 0o711 });
  rmSync(file, { force: true });
  copyFileSync(launcherPath(), file);
  chmodSync(file, MODE);
}
