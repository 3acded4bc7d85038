/** Files that are whole or not there, whatever happens in between (rename(2) after fsync(2)). */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';

/** How a file's name ends until it is whole: no name of a container does. */
const FRESH = '.new~';

/** Whether a name is that of a file that was being written; {@link writeWhole} was killed if nobody is at it any more. */
export function isFresh(name: string): boolean {
  return name.endsWith(FRESH);
}

/** Replaces `file`; the owner alone can read it unless `mode` says otherwise. */
export function writeWhole(file: string, content: string, mode = 0o600): void {
  const fresh = `${file}.${process.pid}${FRESH}`;
  const fd = openSync(fresh, 'w', mode);
  try {
    writeSync(fd, content);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(fresh, file);
}

/** The same for what is made anew when a power cut takes it: it does not wait for the disk. */
export function writeReplaceable(file: string, content: string, mode = 0o600): void {
  const fresh = `${file}.${process.pid}${FRESH}`;
  writeFileSync(fresh, content, { mode });
  renameSync(fresh, file);
}

/** The text of a file; undefined where there is none. */
export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
