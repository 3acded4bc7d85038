/** The streams and exit statuses of `exec`: stdin only when asked for, 126 and 127 as shells have them. */
import { closeSync, openSync } from 'node:fs';
import { programStatus } from '../../container/engine/start.js';
import { LaunchError } from '../../container/launch/errors.js';
import { failureText } from '../report.js';
import { UsageError } from '../usage-error.js';
import { here, printError } from './here.js';

interface ExecStreams {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly detach?: boolean;
}

/** @returns the exit status @throws UsageError for a terminal that is none */
export async function runExec(
  { interactive = false, tty = false, detach = false }: ExecStreams,
  run: (stdio: readonly [number, number, number]) => Promise<number>,
): Promise<number> {
  if (interactive && tty && !detach && !here().stdinIsTerminal)
    throw new UsageError('-t needs a terminal, and stdin is none', 'leave out -t to use a pipe');
  const none = openSync('/dev/null', 'r+');
  try {
    return await run(detach ? [none, none, none] : [interactive ? 0 : none, 1, 2]);
  } catch (error) {
    if (!(error instanceof LaunchError) || programStatus(error) === 125) throw error;
    printError(failureText(error, false));
    return programStatus(error);
  } finally {
    closeSync(none);
  }
}
