/** The file that tells a client the pid of a process: written beside and renamed, so that nobody reads half a number. */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CreateError, errnoOf } from './errors.js';

/** @param path absolute, or relative to the working directory @throws CreateError */
export function writePidFile(path: string, pid: number): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}`);
  try {
    writeFileSync(temporary, String(pid), { flag: 'wx', mode: 0o644 });
    renameSync(temporary, path);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw new CreateError(`cannot write the pid file ${path}: ${errnoOf(cause)}`, { cause });
  }
}
