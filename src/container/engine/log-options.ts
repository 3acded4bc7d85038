/** `--log-driver` and `--log-opt`, and how a container's minder is started. Drivers are json-file (the default), local, which is the same, and none. */
import type { EngineContext } from './context.js';
import { OptionError } from './errors.js';
import type { MinderOptions } from './minder.js';
import type { ContainerRecord } from './record.js';

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };
/** A log never grows without bound: a container that prints would fill the host's disk. */
const DEFAULT_MAX_SIZE = 10 * 2 ** 20;
const DEFAULT_MAX_FILES = 5;
const MIN_SIZE = 4096;
/** Starting a health check, and noting what came of it, on a machine that is very busy. */
const CHECK_START_MS = 60_000;

/** @returns undefined for driver `none` @throws OptionError */
export function parseLogOptions(driver: string, values: readonly string[]): MinderOptions['log'] {
  if (!['json-file', 'local', 'none'].includes(driver))
    throw new OptionError(
      '--log-driver',
      `${JSON.stringify(driver)} is not json-file, local or none`,
      'collect what tvmm logs -f prints',
    );
  if (driver === 'none' && values.length > 0)
    throw new OptionError('--log-opt', 'means nothing without a log');
  let maxSize = DEFAULT_MAX_SIZE;
  let maxFiles = DEFAULT_MAX_FILES;
  for (const value of values) {
    const [name, text = ''] = value.split(/=(.*)/s);
    if (name === 'max-size') {
      const match = /^(\d+)([kmg]?)b?$/i.exec(text);
      maxSize = Number(match?.[1]) * (UNITS[match?.[2]?.toLowerCase() ?? ''] ?? 1);
      // -1 is docker's word for "no bound".
      if (text === '-1') maxSize = 0;
      else if (match === null || maxSize < MIN_SIZE)
        throw new OptionError('--log-opt', `max-size ${JSON.stringify(text)} is not a size of at least 4k`);
    } else if (name === 'max-file') {
      maxFiles = Number(text);
      if (!/^\d{1,3}$/.test(text) || maxFiles < 1)
        throw new OptionError('--log-opt', `max-file ${JSON.stringify(text)} is not a number from 1 to 999`);
    } else throw new OptionError('--log-opt', `${JSON.stringify(name)} is not max-size or max-file`);
  }
  return driver === 'none' ? undefined : { maxSize, maxFiles };
}

/** What is left of `--timeout`. @param started when the container was, if it runs already */
function lifeMs(seconds: number, started: string | undefined): number {
  const ran = started === undefined ? 0 : Date.now() - Date.parse(started);
  return Math.max(1, seconds * 1000 - ran);
}

/** How this container's minder is started. @param adopts it runs already */
export function minderOptions(
  context: EngineContext,
  record: ContainerRecord,
  { adopts = false }: { readonly adopts?: boolean } = {},
): MinderOptions {
  const { options, id, healthCheck } = record;
  return {
    folder: context.store.folder(id),
    tty: options.tty,
    stdin: options.interactive,
    log: parseLogOptions(options.logDriver, options.logOpt),
    exitCommand: context.exitCommand(id),
    transient: options.remove,
    ...(options.timeout === undefined
      ? {}
      : { lifeMs: lifeMs(options.timeout, adopts ? record.started : undefined) }),
    ...(healthCheck === undefined || healthCheck.interval < 0
      ? {}
      : { checks: { ...healthCheck, limit: healthCheck.timeout + CHECK_START_MS } }),
  };
}
