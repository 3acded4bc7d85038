/**
 * Logs: JSON lines by pino on stderr, since stdout belongs to the guest or to the answer. pino is loaded by the first line that is
 * really written, so that a boot that has nothing to say does not pay for it.
 */
import { createRequire } from 'node:module';
import type { Logger, pino } from 'pino';

/** From the most to the least important. */
export const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
type WrittenLevel = Exclude<LogLevel, 'silent'>;

let threshold: LogLevel = 'warn';
let logger: Logger | undefined;

/** What is written from now on: this level and the more important ones. The default is `warn`. */
export function setLogLevel(level: LogLevel): void {
  threshold = level;
  if (logger !== undefined) logger.level = level;
}

/** Whether a line of this level would be written: ask before a costly line is put together. */
export function logs(level: WrittenLevel): boolean {
  return LOG_LEVELS.indexOf(level) <= LOG_LEVELS.indexOf(threshold);
}

/** Writes one line, at once: a process that ends right after loses nothing. */
export function log(
  level: WrittenLevel,
  message: string,
  fields: Readonly<Record<string, unknown>> = {},
): void {
  if (!logs(level)) return;
  logger ??= load();
  logger[level](fields, message);
}

function load(): Logger {
  // require, not import(): a line must be out before the call returns, and an import answers later.
  const factory: typeof pino = createRequire(import.meta.filename)('pino');
  return factory(
    { level: threshold, base: { pid: process.pid } },
    factory.destination({ fd: 2, sync: true }),
  );
}
