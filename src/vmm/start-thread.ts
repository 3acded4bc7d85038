/**
 * Starts a thread's Worker and nothing else: small, so that the command line can do it first of all. A Worker takes longer to load than a
 * machine to be built, and loads beside it.
 */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { WRITE_CODE_CACHE } from '../sys/code-cache.js';

/** The bundles that threads run. */
export type ThreadName = 'vcpu-thread' | 'io-thread';

/** What every Worker starts with: it loads its bundle with V8's code cache. */
export const THREAD_BUNDLE = 'thread.cjs';

/**
 * It gets no arguments and almost no environment of ours, and shares stdio only through the descriptors that its devices name.
 *
 * @param dist the folder of the bundles
 */
export function startThread(dist: string, name: ThreadName): Worker {
  const record = process.env[WRITE_CODE_CACHE];
  return new Worker(join(dist, THREAD_BUNDLE), {
    name,
    env: record === undefined ? {} : { [WRITE_CODE_CACHE]: record },
    execArgv: [],
    stdin: false,
    workerData: join(dist, `${name}.cjs`),
  });
}
