/** `checkpoint`: has criu save a container's processes, and takes the container away unless it shall go on. */

import { type CriuOptions, externalMounts, runCriu } from './criu.js';
import { destroy } from './delete.js';
import type { RuntimeEnvironment } from './environment.js';
import { CheckpointError, ContainerStatusError } from './errors.js';
import { containerSpec } from './exec.js';
import { runHooksAnyway } from './hooks.js';
import type { ContainerRecord } from './record.js';
import { cgroupOf, ociState, statusOf } from './status.js';
import type { ContainerFolder } from './store.js';

export interface CheckpointOptions extends CriuOptions {
  readonly leaveRunning: boolean;
  /** Memory alone; the container goes on. */
  readonly preDump: boolean;
}

/** The caller holds the lock. @throws ContainerStatusError, CheckpointError */
export async function checkpointContainer(
  environment: RuntimeEnvironment,
  folder: ContainerFolder,
  record: ContainerRecord,
  options: CheckpointOptions,
): Promise<void> {
  const status = statusOf(folder, record);
  if ((status !== 'running' && status !== 'paused') || record.init === undefined)
    throw new ContainerStatusError(`Container cannot be checkpointed in ${status} state`);
  const freezer = cgroupOf(record)?.paths.freezer;
  runCriu(options.preDump ? 'pre-dump' : 'dump', options, [
    '--tree',
    String(record.init.pid),
    '--root',
    record.rootfs,
    '--manage-cgroups=soft',
    // Interfaces and addresses are whose work the network is, not the runtime's.
    '--empty-ns',
    'net',
    ...(freezer === undefined ? [] : ['--freeze-cgroup', freezer]),
    ...(options.leaveRunning && !options.preDump ? ['--leave-running'] : []),
    ...externalMounts(containerSpec(folder), false),
  ]);
  if (options.leaveRunning || options.preDump) return;
  await destroy(folder, record);
  await runHooksAnyway('poststop', record.hooks?.poststop, ociState(record, 'stopped'), (message) =>
    environment.log.warn(message),
  );
}

/** `restore` is refused until a kernel is at hand on which it can be proved. */
export function refuseRestore(): never {
  throw new CheckpointError('restore is not supported: containers can be checkpointed, not restored', {
    hint: 'Restore the images with criu itself.',
  });
}
