/**
 * `dist/container-exited.cjs ROOT RUN ID`: what a container's minder becomes; with the word `health` behind them, what it runs for a health
 * check. Loads the rest with V8's code cache: it runs after every container.
 */
import { join } from 'node:path';
import { loadBundle, recordCodeCaches } from '../../sys/code-cache.js';
import type * as ExitedMain from './exited-main.js';

async function main(): Promise<void> {
  const bundle = join(import.meta.dirname, 'exited-main.cjs');
  // The bundle is our own build's: its exports are what its source says.
  const { runExited } = loadBundle(bundle, process.argv[5] ?? 'exited') as typeof ExitedMain;
  process.exitCode = await runExited(process.argv.slice(2));
  if (process.exitCode === 0) recordCodeCaches();
}

// Failures are written to the log where they happen; this promise does not reject.
void main();
