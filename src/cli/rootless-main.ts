/** The bundle that turns a user's `tvmm run` into the same command as root of the user's own namespace (`dist/rootless-main.cjs`). */
import { enterNamespaces } from '../container/rootless/enter.js';
import { failureText } from './report.js';

const EXIT_FAILURE = 125;

/** Becomes this command again; comes back only when that fails, with the exit status. */
export async function becomeRoot(): Promise<number> {
  try {
    return await enterNamespaces({
      path: process.execPath,
      argv: [process.execPath, ...process.execArgv, '--', ...process.argv.slice(1)],
    });
  } catch (error) {
    process.stderr.write(failureText(error, process.argv.includes('--debug')));
    return EXIT_FAILURE;
  }
}
