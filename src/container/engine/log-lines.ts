/**
 * A container's log (docker's json-file): `{"log": …, "stream": …, "time": …}` lines in `log`, older ones in `log.1` and up. Reads all,
 * the last n, from a time on, and follows over rotation. Lines that are damaged (a crash while writing) are passed over.
 */
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { delay } from '../../sys/time.js';
import { LOG_FILE } from './minder.js';
import { object, oneOf, parseDocument, text } from './shape.js';

const lineShape = object({ log: text, stream: oneOf('stdout', 'stderr'), time: text });

export interface LogLine {
  readonly log: string;
  readonly stream: 'stdout' | 'stderr';
  /** RFC 3339 with nanoseconds, UTC. */
  readonly time: string;
}

export interface LogSelection {
  /** Lines from the end; undefined: all. */
  readonly tail?: number;
  /** RFC 3339, UTC: lines of that moment and later, and before. */
  readonly since?: string;
  readonly until?: string;
}

/** @returns the lines, and what comes after the last newline */
export function parseLog(content: string): { lines: LogLine[]; rest: string } {
  const parts = content.split('\n');
  const rest = parts.pop() ?? '';
  const lines = parts.flatMap((part) => {
    try {
      return [parseDocument(lineShape, part, 'log')];
    } catch {
      return [];
    }
  });
  return { lines, rest };
}

/** The files of a log, the oldest first. */
function logFiles(folder: string): string[] {
  const numbers = readdirSync(folder)
    .flatMap((name) => /^log\.(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => b - a);
  return [...numbers.map((n) => join(folder, `${LOG_FILE}.${n}`)), join(folder, LOG_FILE)];
}

/** Times of one clock and form compare as text; both have the seconds in the same place, fractions of different length. */
function within(line: LogLine, { since, until }: LogSelection): boolean {
  return (since === undefined || line.time >= since) && (until === undefined || line.time < until);
}

/**
 * What the log holds now.
 *
 * @param limit bytes of the newest file that count; what comes behind them is for somebody who follows
 */
export function readLog(folder: string, selection: LogSelection = {}, limit?: number): LogLine[] {
  const files = logFiles(folder);
  const lines = files
    .flatMap((file, index) => {
      try {
        const bytes = readFileSync(file);
        return parseLog(bytes.toString('utf8', 0, index === files.length - 1 ? limit : undefined)).lines;
      } catch {
        // Rotated away meanwhile, or never written.
        return [];
      }
    })
    .filter((line) => within(line, selection));
  return selection.tail === undefined ? lines : selection.tail === 0 ? [] : lines.slice(-selection.tail);
}

const POLL_MS = 50;

/**
 * The log's lines, then those that come, until `ended` says that no more will.
 *
 * @param ended asked before each look, so that what was written before the end is still given
 */
export async function* followLog(
  folder: string,
  selection: LogSelection,
  ended: () => boolean | Promise<boolean>,
): AsyncGenerator<LogLine> {
  const file = join(folder, LOG_FILE);
  let fd = openIfThere(file);
  // What is read now is taken up to here; the rest comes by following.
  let at = fd === undefined ? 0 : fstatSync(fd).size;
  yield* readLog(folder, selection, at);
  let rest = '';
  try {
    for (let over = false; !over; ) {
      over = await ended();
      if (fd === undefined) fd = openIfThere(file);
      if (fd !== undefined) {
        for (;;) {
          const chunk = Buffer.alloc(64 * 1024);
          const got = readSync(fd, chunk, 0, chunk.length, at);
          if (got === 0) {
            const next = openIfThere(file);
            if (next === undefined) break;
            const same = fstatSync(next).ino === fstatSync(fd).ino;
            const truncated = same && fstatSync(fd).size < at;
            if (same && !truncated) {
              closeSync(next);
              break;
            }
            closeSync(fd);
            fd = next;
            at = 0;
            rest = '';
            continue;
          }
          at += got;
          // The minder writes ASCII escapes and whole UTF-8 sequences, but a read may end within one: latin1 keeps the bytes.
          const parsed = parseLog(rest + chunk.toString('latin1', 0, got));
          rest = parsed.rest;
          for (const line of parsed.lines) {
            const decoded = { ...line, log: Buffer.from(line.log, 'latin1').toString('utf8') };
            if (within(decoded, selection)) yield decoded;
          }
        }
      }
      if (!over) await delay(POLL_MS);
    }
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function openIfThere(file: string): number | undefined {
  try {
    return openSync(file, 'r');
  } catch {
    return undefined;
  }
}
