/** `dist/container-exited.js ROOT RUN ID`: what a container's minder becomes. Its stderr is the container's minder.log. */
import { afterEnd } from './exited.js';
import { openEngine } from './open.js';

// A minder has no environment; CNI plugins look for their tools in the PATH.
process.env.PATH ??= '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const [root, run, id] = process.argv.slice(2);
const say = (message: string) => process.stderr.write(`${new Date().toISOString()} ${message}\n`);

if (root === undefined || run === undefined || id === undefined) {
  say('container-exited is started by a container’s minder');
  process.exitCode = 125;
} else {
  await afterEnd(openEngine({ root, run, warn: say }), id, process.pid).catch((error: unknown) => {
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    process.exitCode = 125;
  });
}
