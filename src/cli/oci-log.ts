/**
 * Log lines as runc writes them, which its clients parse: `time="…" level=error msg="…"`, or JSON objects of level, msg and time. A file
 * that is asked for takes them all; the message that ends the program then stands on standard error as well.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { printError } from './oci-print.js';

export type Level = 'debug' | 'info' | 'warning' | 'error';

export interface OciLogOptions {
  readonly file?: string;
  readonly format: 'text' | 'json';
  readonly debug: boolean;
  /** Writes to standard error: this process's by default. */
  readonly tell?: (text: string) => void;
}

export class OciLog implements Disposable {
  readonly #fd: number | undefined;
  readonly #tell: (text: string) => void;

  /** @throws the errno of open(2) for the file */
  constructor(readonly options: OciLogOptions) {
    this.#tell = options.tell ?? printError;
    this.#fd =
      options.file === undefined
        ? undefined
        : openSync(
            options.file,
            constants.O_CREAT | constants.O_WRONLY | constants.O_APPEND | constants.O_SYNC,
            0o644,
          );
  }

  debug(message: string): void {
    if (this.options.debug) this.#write('debug', message);
  }

  warn(message: string): void {
    this.#write('warning', message);
  }

  /** The failure that ends the program. */
  fatal(message: string): void {
    this.#write('error', message);
    if (this.#fd !== undefined) this.#tell(`${message}\n`);
  }

  #write(level: Level, message: string): void {
    const line = `${logLine(this.options.format, level, message, new Date())}\n`;
    if (this.#fd === undefined) this.#tell(line);
    else put(this.#fd, line);
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}

/** A line without its end. */
export function logLine(format: 'text' | 'json', level: Level, message: string, when: Date): string {
  const time = when.toISOString().replace(/\.\d+Z$/, 'Z');
  return format === 'json'
    ? JSON.stringify({ level, msg: message, time })
    : `time="${time}" level=${level} msg=${JSON.stringify(message)}`;
}

/** A log that cannot be written (a full disk, a reader that left) must not change what the command does. */
function put(fd: number, line: string): void {
  try {
    writeSync(fd, line);
  } catch {
    // There is nowhere to tell it.
  }
}
