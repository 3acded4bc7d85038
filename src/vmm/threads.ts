/**
 * What the control thread tells the other threads of a machine, and hears from them. All of it is plain data or shared memory.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import type { MachineRequest } from '../devices/device.js';
import type { MappedRegion } from '../memory/guest-memory.js';
import { packageRoot } from '../sys/package-root.js';
import type { VcpuEnd } from '../vcpu/run-loop.js';
import type { DeviceTree } from './devices.js';
import { startThread, THREAD_BUNDLE, type ThreadName } from './start-thread.js';

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
  /** Host CPUs that the thread keeps to; all where there is none. */
  affinity: readonly number[];
}

/** From a thread to the control thread. */
export type ThreadMessage =
  | { type: 'request'; request: MachineRequest }
  | { type: 'ended'; index: number; end: VcpuEnd }
  | { type: 'log'; message: string }
  /** The I/O thread has let go of guest memory and disks. */
  | { type: 'io-ended' };

/** Bundles of threads: siblings of the running module in dist/, or dist/ of the package when running from sources. */
function distFolder(): string {
  const here = import.meta.dirname;
  return existsSync(join(here, THREAD_BUNDLE)) ? here : join(packageRoot(), 'dist');
}

let spare: Worker | undefined;

/** Offers a vCPU thread that was started before anything else was known; the first machine takes it. */
export function offerSpareThread(worker: Worker): void {
  spare = worker;
}

/** Ends the spare thread if no machine took it. */
export function discardSpareThread(): void {
  const quit: Quit = { quit: true };
  spare?.postMessage(quit);
  spare = undefined;
}

/** Starts a thread that waits for its start message, or takes the spare one. */
export function spawnThread(name: ThreadName): Worker {
  if (name === 'vcpu-thread' && spare !== undefined) {
    const worker = spare;
    spare = undefined;
    return worker;
  }
  return startThread(distFolder(), name);
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
