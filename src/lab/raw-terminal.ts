/**
 * The caller's terminal in raw mode, both ways. Node's own setRawMode leaves output processing on (a newline becomes CR
 * LF), which garbles what a terminal behind another terminal draws: stty switches all of it off, and puts it back.
 */
import { spawnSync } from 'node:child_process';
import type { LabStreams } from './run.js';

/** Makes the terminal of `stdin` raw until disposal, or until this process exits. */
export function rawTerminal(stdin: LabStreams['stdin']): Disposable {
  const before = stty(stdin, ['-g'])?.trim();
  stdin.setRawMode?.(true);
  if (before !== undefined) stty(stdin, ['raw', '-echo']);
  const restore = () => {
    process.off('exit', restore);
    stdin.setRawMode?.(false);
    if (before !== undefined) stty(stdin, [before]);
  };
  process.on('exit', restore);
  return { [Symbol.dispose]: restore };
}

/** Runs stty on the terminal; undefined where that is not this process's stdin, or stty fails. */
function stty(stdin: LabStreams['stdin'], args: readonly string[]): string | undefined {
  if (stdin !== process.stdin) return undefined;
  const done = spawnSync('stty', args, { stdio: ['inherit', 'pipe', 'ignore'], encoding: 'utf8' });
  return done.status === 0 ? done.stdout : undefined;
}
