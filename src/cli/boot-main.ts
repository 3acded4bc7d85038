/**
 * The entry of the boot bundle (`dist/boot-main.cjs`): the program with `boot` as its only command.
 */
import type { Worker } from 'node:worker_threads';
import { discardSpareThread, offerSpareThread } from '../vmm/threads.js';
import * as boot from './boot.js';
import { runProgram } from './run.js';

/**
 * Runs `tvmm boot …`.
 *
 * @param args those of the whole command line
 * @param spare a vCPU thread that loads already
 */
export async function runBoot(args: readonly string[], spare?: Worker): Promise<void> {
  if (spare !== undefined) offerSpareThread(spare);
  try {
    await runProgram(
      args,
      [{ name: 'boot', group: '', summary: '', load: () => Promise.resolve(boot) }],
      'boot',
    );
  } finally {
    discardSpareThread();
  }
}
