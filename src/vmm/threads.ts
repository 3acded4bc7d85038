/**
 * What the control thread tells the other threads of a machine, and hears from them. All of it is plain data or shared memory.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { MachineRequest } from '../devices/device.js';
import type { MappedRegion } from '../memory/guest-memory.js';
import { WRITE_CODE_CACHE } from '../sys/code-cache.js';
import { packageRoot } from '../sys/package-root.js';
import type { VcpuEnd } from '../vcpu/run-loop.js';
import type { DeviceTree } from './devices.js';

/** What every thread needs to see the machine: it builds the same devices from it. */
export interface MachineView {
  tree: DeviceTree;
  state: SharedArrayBuffer;
  eventfds: readonly number[];
  vmFd: number;
  ram: readonly MappedRegion[];
}

export interface VcpuThreadStart extends MachineView {
  index: number;
  /** Descriptor of the vCPU. */
  fd: number;
  apicId: number;
  mmapSize: number;
  control: SharedArrayBuffer;
}

/** From a thread to the control thread. */
export type ThreadMessage =
  | { type: 'request'; request: MachineRequest }
  | { type: 'ended'; index: number; end: VcpuEnd }
  | { type: 'log'; message: string };

/** Bundles of threads: siblings of the running module in dist/, or dist/ of the package when running from sources. */
function bundle(name: 'vcpu-thread' | 'io-thread' | 'thread'): string {
  const sibling = join(dirname(fileURLToPath(import.meta.url)), `${name}.cjs`);
  return existsSync(sibling) ? sibling : join(packageRoot(), 'dist', `${name}.cjs`);
}

/**
 * Starts a thread that waits for its start message. It gets no arguments and almost no environment of ours, and shares stdio only through
 * the descriptors that its devices name.
 */
export function spawnThread(name: 'vcpu-thread' | 'io-thread', label: string): Worker {
  const record = process.env[WRITE_CODE_CACHE];
  return new Worker(bundle('thread'), {
    name: label,
    env: record === undefined ? {} : { [WRITE_CODE_CACHE]: record },
    execArgv: [],
    stdin: false,
    workerData: bundle(name),
  });
}

/** To a thread that waits for its start message: there will be none. */
export interface Quit {
  readonly quit: true;
}

/**
 * What ends a thread and waits for it. May be called again.
 *
 * @param stop makes a thread that was started come to its end
 */
export function threadStopper(worker: Worker, stop: () => void): () => Promise<void> {
  const exit = new Promise<void>((resolve) => {
    worker.once('exit', () => resolve());
  });
  return () => {
    stop();
    const quit: Quit = { quit: true };
    worker.postMessage(quit);
    return exit;
  };
}
