/**
 * The files of one cgroup folder. cgroupfs files are small, never created by opening, and take one value a write(2); so these are plain
 * synchronous calls without O_CREAT: a missing file is ENOENT, not a new file on whatever is mounted there.
 */
import { closeSync, constants, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { CgroupLimitError, cgroupHint, errnoOf } from './errors.js';

/** What the code that applies limits needs of a folder; tests put a map in its place. */
export interface CgroupFiles {
  /** Absolute path, for messages. */
  readonly folder: string;
  has(file: string): boolean;
  /** @throws the errno of open(2) or read(2) */
  read(file: string): string;
  /** One write(2) of `value`. @throws the errno of open(2) or write(2) */
  write(file: string, value: string): void;
  /** Opens a file that takes many values, each with a write(2) of its own. @throws the errno of open(2) */
  writing(file: string): FileWriter;
}

export interface FileWriter extends Disposable {
  /** @throws the errno of write(2) */
  write(value: string): void;
}

/** The real files below an absolute path. */
export class FolderFiles implements CgroupFiles {
  constructor(readonly folder: string) {}

  has(file: string): boolean {
    return existsSync(`${this.folder}/${file}`);
  }

  read(file: string): string {
    return readFileSync(`${this.folder}/${file}`, 'utf8');
  }

  write(file: string, value: string): void {
    const fd = openSync(`${this.folder}/${file}`, constants.O_WRONLY);
    try {
      writeSync(fd, value);
    } finally {
      closeSync(fd);
    }
  }

  writing(file: string): FileWriter {
    const fd = openSync(`${this.folder}/${file}`, constants.O_WRONLY);
    return { write: (value) => void writeSync(fd, value), [Symbol.dispose]: () => closeSync(fd) };
  }
}

/** The file's text, or undefined where there is no such file or cgroup any more. */
export function readOptional(files: CgroupFiles, file: string): string | undefined {
  try {
    return files.read(file);
  } catch (error) {
    if (['ENOENT', 'ENODEV', 'EOPNOTSUPP'].includes(errnoOf(error))) return undefined;
    throw error;
  }
}

/** A number as the kernel parses it: all digits, where JavaScript would round or use an exponent; at most 2^64 - 1. */
export function decimal(value: number): string {
  if (Number.isSafeInteger(value)) return value.toString();
  const whole = BigInt(Math.round(value));
  const most = 2n ** 64n - 1n;
  return (whole > most ? most : whole).toString();
}

/** Where a value comes from and goes to, for messages: field `memory.limit`, controller `memory`. */
export interface Setting {
  readonly controller: string;
  readonly field: string;
}

/** Writes a value that the user asked for. @throws CgroupLimitError that names field, controller, file and errno */
export function writeSetting(files: CgroupFiles, setting: Setting, file: string, value: string): void {
  try {
    files.write(file, value);
  } catch (error) {
    throw settingError(files, setting, file, value, error);
  }
}

/** The sentence for a value that did not go in. */
export function settingError(
  files: CgroupFiles,
  { controller, field }: Setting,
  file: string,
  value: string,
  cause: unknown,
): CgroupLimitError {
  const errno = errnoOf(cause) || 'failed';
  const missing = errno === 'ENOENT' && files.has('cgroup.procs');
  const message = missing
    ? `cannot set ${field} to ${value.trim()}: the ${controller} controller has no file ${file} in ${files.folder}`
    : `cannot set ${field} to ${value.trim()}: writing ${files.folder}/${file} (${controller} controller): ${errno}`;
  const hint = missing
    ? `This kernel's ${controller} controller cannot limit that: leave ${field} out.`
    : cgroupHint(errno);
  return new CgroupLimitError(message, { controller, file, hint, cause });
}
