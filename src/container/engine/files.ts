/** Files that are whole or not there, whatever happens in between (rename(2) after fsync(2)). */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { exhaustionOf } from '../../sys/exhausted.js';
import { declare } from '../../sys/libc.js';
import { RecordError } from './errors.js';

const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;
const renameat2 = declare<
  (fromFolder: number, from: string, toFolder: number, to: string, flags: number) => number
>('renameat2', 'int', ['int', 'str', 'int', 'str', 'unsigned int']);

/** How a file's name ends until it is whole: no name of a container does. */
const FRESH = '.new~';

/** Whether a name is that of a file that was being written; {@link writeWhole} was killed if nobody is at it any more. */
export function isFresh(name: string): boolean {
  return name.endsWith(FRESH);
}

/** Replaces `file`; the owner alone can read it unless `mode` says otherwise. @throws RecordError where the disk gives out */
export function writeWhole(file: string, content: string, mode = 0o600): void {
  write(file, content, mode, true);
}

/**
 * The same for what is made anew when a power cut takes it: it does not wait for the disk. A file that takes another's name is written out at
 * once by some file systems (ext4's auto_da_alloc), one that changes names with it is not.
 */
export function writeReplaceable(file: string, content: string, mode = 0o600): void {
  write(file, content, mode, false);
}

function write(file: string, content: string, mode: number, lasting: boolean): void {
  const fresh = `${file}.${process.pid}${FRESH}`;
  try {
    const fd = openSync(fresh, 'w', mode);
    try {
      // All of it, or it throws: a single write(2) may find room for a part.
      writeFileSync(fd, content);
      if (lasting) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    // Fails where there is none yet, or the file system cannot do that.
    const exchanged = !lasting && renameat2(AT_FDCWD, fresh, AT_FDCWD, file, RENAME_EXCHANGE) === 0;
    if (exchanged) unlinkSync(fresh);
    else renameSync(fresh, file);
  } catch (cause) {
    try {
      rmSync(fresh, { force: true });
    } catch {
      // A disk that is read-only: nothing was made.
    }
    const exhausted = exhaustionOf(cause);
    if (exhausted?.noSpace === true && overwrite(file, content)) return;
    if (exhausted === undefined || !(cause instanceof Error) || !('code' in cause)) throw cause;
    // write(2) itself does not know the file.
    throw new RecordError(`cannot write ${file}: ${exhausted.what} (${cause.code})`, {
      code: String(cause.code),
      hint: exhausted.hint,
      cause,
    });
  }
}

/**
 * On a full disk, what makes room on it (stop, rm) must still be noted: the room that the file has may do. One write, padded as JSON may be, so
 * that who reads meanwhile finds one text or the other.
 *
 * @returns false where that is not so
 */
function overwrite(file: string, content: string): boolean {
  try {
    const fd = openSync(file, 'r+');
    try {
      const { size, blocks } = fstatSync(fd);
      const bytes = Buffer.from(content.padEnd(size));
      if (bytes.length > blocks * 512) return false;
      return writeSync(fd, bytes, 0, bytes.length, 0) === bytes.length;
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
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
