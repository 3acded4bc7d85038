/**
 * `delete`: takes away everything that create has made: processes, cgroup, folder; then the poststop hooks. It works as well on what a
 * create that was killed has left, whatever step that had come to, and on what an earlier delete has left.
 */
import { delay } from '../../sys/time.js';
import { Cgroup } from '../cgroup/cgroup.js';
import type { CgroupFolder } from '../cgroup/state.js';
import { ContainerStatusError, DeleteError, errnoOf } from './errors.js';
import { runHooksAnyway } from './hooks.js';
import { signalProcess } from './kill.js';
import { isAlive, type ProcessName } from './process-info.js';
import type { ContainerRecord } from './record.js';
import { cgroupOf, ociState, statusOf } from './status.js';
import type { ContainerFolder } from './store.js';

const SIGKILL = 9;
const DEATH_TIMEOUT_MS = 10_000;

/** The caller holds the lock. @throws ContainerStatusError, DeleteError, CgroupError */
export async function deleteContainer(
  folder: ContainerFolder,
  record: ContainerRecord,
  { force, warn }: { force: boolean; warn(message: string): void },
): Promise<void> {
  const status = record.phase === 'creating' ? 'stopped' : statusOf(folder, record);
  // The specification would have a created one refused; clients that give up a container before its start count on runc's and crun's way.
  if (status !== 'stopped' && status !== 'created' && !force)
    throw new ContainerStatusError(`cannot delete container ${record.id} that is not stopped: ${status}`, {
      hint: 'Kill it first, or use --force.',
    });
  await destroy(folder, record);
  if (record.phase === 'created')
    await runHooksAnyway('poststop', record.hooks?.poststop, ociState(record, 'stopped'), warn);
}

/** Removes all of it. The folder goes last: until then another try finds what there is to remove. */
export async function destroy(folder: ContainerFolder, record: ContainerRecord): Promise<void> {
  const cgroup = cgroupOf(record);
  if (record.init !== undefined) await killProcess(record.init, cgroup);
  const own = ownPart(record);
  if (own !== undefined) {
    await own.kill();
    try {
      await own.remove();
    } catch {
      await own.killEverywhere();
      await own.remove();
    }
  }
  if (record.resctrl !== undefined) {
    const { removeResctrl } = await import('./resctrl.js');
    removeResctrl(record.resctrl);
  }
  removeFolder(folder);
}

/**
 * The hierarchies in which the cgroup was made for this container. A create that was killed early may only have planned one that is another
 * container's: then nothing of it was.
 */
function ownPart({ phase, cgroup }: ContainerRecord): Cgroup | undefined {
  if (cgroup === undefined) return undefined;
  const isOwn = ({ folder }: CgroupFolder) => phase === 'created' || cgroup.made.includes(folder);
  const { v2, made } = cgroup;
  const v1 = Object.fromEntries(Object.entries(cgroup.v1).filter(([, place]) => isOwn(place)));
  const own = new Cgroup({ v1, ...(v2 === undefined || !isOwn(v2) ? {} : { v2 }), made });
  return own.present ? own : undefined;
}

/** As {@link destroy}, for a container that this process has made, and whose first process somebody has waited for. */
export async function destroyEnded(folder: ContainerFolder, record: ContainerRecord): Promise<void> {
  const cgroup = ownPart(record);
  if (cgroup !== undefined && !cgroup.removeEmpty()) {
    await cgroup.kill();
    await cgroup.remove();
  }
  if (record.resctrl !== undefined) {
    const { removeResctrl } = await import('./resctrl.js');
    removeResctrl(record.resctrl);
  }
  removeFolder(folder);
}

export function removeFolder(folder: ContainerFolder): void {
  try {
    folder.remove();
  } catch (cause) {
    throw new DeleteError(`cannot remove ${folder.path}: ${errnoOf(cause)}`, { cause });
  }
}

/** Its own pid namespace dies with it. */
async function killProcess(init: ProcessName, cgroup: Cgroup | undefined): Promise<void> {
  if (!isAlive(init)) return;
  signalProcess(init, SIGKILL);
  if (cgroup?.freezerState() === 'frozen') cgroup.thaw();
  let waited = 0;
  for (let pause = 1; isAlive(init); pause = Math.min(pause * 2, 50)) {
    if (waited >= DEATH_TIMEOUT_MS)
      throw new DeleteError(`the container's process ${init.pid} does not die`, {
        hint: `It hangs in the kernel: see /proc/${init.pid}/stack.`,
      });
    await delay(pause);
    waited += pause;
  }
}
