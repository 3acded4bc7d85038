/**
 * What the control thread tells the other threads of a machine, and hears from them. All of it is plain data or shared memory.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { MachineRequest } from '../devices/device.js';
import type { MappedRegion } from '../memory/guest-memory.js';
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

/** To the I/O thread: its start, or that there will be none. */
export type IoThreadStart = MachineView | { readonly quit: true };

/** From a thread to the control thread. */
export type ThreadMessage =
  | { type: 'request'; request: MachineRequest }
  | { type: 'ended'; index: number; end: VcpuEnd }
  | { type: 'log'; message: string };

/** A bundled thread entry: a sibling of the running module in dist/, or dist/ of the package when running from sources. */
function threadFile(name: 'vcpu-thread' | 'io-thread'): string {
  const sibling = join(dirname(fileURLToPath(import.meta.url)), `${name}.js`);
  return existsSync(sibling) ? sibling : join(packageRoot(), 'dist', `${name}.js`);
}

/**
 * Starts a thread that waits for its start message. It gets no environment and no arguments of ours, and shares stdio only through the
 * descriptors that its devices name.
 */
export function spawnThread(name: 'vcpu-thread' | 'io-thread', label: string): Worker {
  return new Worker(threadFile(name), { name: label, env: {}, execArgv: [], stdin: false });
}
