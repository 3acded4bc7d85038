/** The bundle of what a container's minder becomes (`dist/exited-main.cjs`, loaded by exited-bin.ts). Its stderr is the container's minder.log. */
import { existsSync } from 'node:fs';
import { afterEnd } from './exited.js';
import { openEngine } from './open.js';

const say = (message: string) => process.stderr.write(`${new Date().toISOString()} ${message}\n`);

/** @param words ROOT RUN ID @returns the exit status */
export async function runExited(words: readonly string[]): Promise<number> {
  const [root, run, id] = words;
  if (root === undefined || run === undefined || id === undefined) {
    say('container-exited is started by a container’s minder');
    return 125;
  }
  // Somebody has removed everything already: nothing is to be made anew.
  if (!existsSync(root)) return 0;
  // A minder has no environment; CNI plugins look for their tools in the PATH.
  process.env.PATH ??= '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  try {
    await afterEnd(openEngine({ root, run, warn: say }), id, process.pid);
    return 0;
  } catch (error) {
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return 125;
  }
}
