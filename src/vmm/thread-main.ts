/** The entry of every thread (`dist/thread.cjs`): loads the thread's bundle with its code cache. */
import { workerData } from 'node:worker_threads';
import { loadBundle } from '../sys/code-cache.js';

loadBundle(String(workerData));
