/**
 * Writes to standard output without Node's streams: making process.stdout costs more than all the rest of `state`. A pipe that somebody made
 * non-blocking is waited for; a reader that left ends the writing.
 */
import { writeSync } from 'node:fs';

const PAUSE_MS = 2;

/** @returns 0, the exit status of a command that has only this to do; 141 (SIGPIPE) when nobody reads */
export function print(text: string): number {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : '';
      if (code === 'EPIPE') return 141;
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  }
  return 0;
}

/** Standard error. What cannot be told (a full disk, a reader that left) must not change what the command does. */
export function printError(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // There is nowhere to tell it.
  }
}
