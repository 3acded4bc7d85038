/** The bundle of what a container's minder becomes (`dist/exited-main.cjs`, loaded by exited-bin.ts). Its stderr is the container's minder.log. */
import { existsSync } from 'node:fs';
import { afterEnd } from './exited.js';
import { openEngine } from './open.js';

const say = (message: string) => process.stderr.write(`${new Date().toISOString()} ${message}\n`);

/** @param words ROOT RUN ID [health] @returns the exit status; of a health check 0 when the container is healthy */
export async function runExited(words: readonly string[]): Promise<number> {
  const [root, run, id, task] = words;
  if (root === undefined || run === undefined || id === undefined) {
    say('container-exited is started by a container’s minder');
    return 125;
  }
  // Somebody has removed everything already: nothing is to be made anew.
  if (!existsSync(root)) return 0;
  // A minder has no environment; CNI plugins look for their tools in the PATH.
  process.env.PATH ??= '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  try {
    const context = openEngine({ root, run, warn: say });
    if (task === 'health') {
      const { runHealthCheck } = await import('./health/run-check.js');
      return (await runHealthCheck(context, id))?.health.status === 'healthy' ? 0 : 1;
    }
    await afterEnd(context, id, process.pid);
    return 0;
  } catch (error) {
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return 125;
  }
}
