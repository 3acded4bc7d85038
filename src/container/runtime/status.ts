/** In what state a container is (runtime.md, "State"), found out anew each time: the process, the fifo and the freezer know it best. */
import { readlinkSync } from 'node:fs';
import { Cgroup } from '../cgroup/cgroup.js';
import type { ContainerStatus, OciState } from '../spec/state.js';
import { isAlive } from './process-info.js';
import type { ContainerRecord } from './record.js';
import type { ContainerFolder } from './store.js';

/** @param folder of the container that `record` was read from */
export function statusOf(folder: ContainerFolder, record: ContainerRecord): ContainerStatus {
  if (record.phase === 'creating') return isBeingMade(folder) ? 'creating' : 'stopped';
  if (record.init === undefined || !isAlive(record.init)) return 'stopped';
  if (record.cgroup !== undefined && cgroupOf(record)?.freezerState() === 'frozen') return 'paused';
  return folder.hasFifo && isLauncher(record.init.pid) ? 'created' : 'running';
}

/** The cgroup of a container; undefined when it has none. */
export function cgroupOf(record: ContainerRecord): Cgroup | undefined {
  if (record.cgroup === undefined) return undefined;
  const cgroup = new Cgroup(record.cgroup);
  return cgroup.present ? cgroup : undefined;
}

/** Whoever makes a container holds its lock. */
function isBeingMade(folder: ContainerFolder): boolean {
  const lock = folder.tryLock();
  if (lock === 'busy') return true;
  lock?.[Symbol.dispose]();
  return false;
}

/**
 * Whether a container's first process is our launcher still, and not yet its program: true as well where that is not ours to see. A start
 * that was killed half-way leaves the fifo of a program that runs already.
 */
export function isLauncher(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`).includes(LAUNCHER_NAME);
  } catch {
    return true;
  }
}

/** Part of the launcher's name in /proc/PID/exe, whether it runs from a memfd or from its file. */
const LAUNCHER_NAME = 'launcher';

/** The state as the specification has it: for `state`, hooks and seccomp agents. */
export function ociState(record: ContainerRecord, status: ContainerStatus, pid = record.init?.pid): OciState {
  return {
    ociVersion: record.ociVersion,
    id: record.id,
    status,
    ...(pid === undefined || status === 'stopped' ? {} : { pid }),
    bundle: record.bundle,
    ...(record.annotations === undefined ? {} : { annotations: record.annotations }),
  };
}
