/**
 * The processes of a cgroup: listed, moved in, frozen, thawed, killed. Waiting never blocks the thread: what is not done at once is
 * awaited with timers, and every wait has an end.
 */
import { readdirSync } from 'node:fs';
import { delay } from '../../sys/time.js';
import { CgroupAttachError, CgroupProcessError, cgroupHint, errnoOf } from './errors.js';
import { FolderFiles, readOptional } from './files.js';

/** Errno of a cgroup that has been removed: at open(2), or at read(2) and write(2) of a file that is open. */
const GONE = ['ENOENT', 'ENODEV'];

/** Child cgroups, by name. */
export function childFolders(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => `${folder}/${name}`);
  } catch (error) {
    if (GONE.includes(errnoOf(error))) return [];
    throw error;
  }
}

/** Process ids in one folder, and in those below it if asked. A cgroup that is gone has none. Those of other pid namespaces are left out. */
export function pidsOf(folder: string, recursive: boolean): number[] {
  const files = new FolderFiles(folder);
  let text: string | undefined;
  try {
    text = files.read('cgroup.procs');
  } catch (error) {
    const errno = errnoOf(error);
    // A threaded cgroup lists threads only.
    if (errno === 'EOPNOTSUPP' || errno === 'ENOTSUP') text = readOptional(files, 'cgroup.threads');
    else if (!GONE.includes(errno))
      throw new CgroupProcessError(`cannot list the processes of ${folder}: ${errno}`, {
        hint: cgroupHint(errno),
        cause: error,
      });
  }
  // 0 stands for a process that this pid namespace cannot see.
  const pids = (text ?? '')
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);
  if (recursive) for (const child of childFolders(folder)) pids.push(...pidsOf(child, true));
  return [...new Set(pids)];
}

/** Moves a process into a folder. @throws CgroupAttachError */
export function attachTo(folder: string, pid: number): void {
  const files = new FolderFiles(folder);
  for (let tries = 1; ; tries++) {
    try {
      files.write('cgroup.procs', `${pid}`);
      return;
    } catch (cause) {
      const errno = errnoOf(cause);
      // A process that is only just being made (TASK_NEW) is refused for a moment.
      if (errno === 'EINVAL' && tries < 5) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
        continue;
      }
      throw new CgroupAttachError(`cannot move process ${pid} into ${folder}: ${errno}`, {
        hint:
          errno === 'ESRCH'
            ? 'The process has ended.'
            : errno === 'EBUSY'
              ? 'On cgroup v2 a cgroup that hands controllers to children takes no processes.'
              : cgroupHint(errno),
        cause,
      });
    }
  }
}

export type FreezerState = 'thawed' | 'frozen' | 'undefined';

const FREEZE_TRIES = 1000;
const FREEZE_SECONDS = 10;

/**
 * Freezes a v1 freezer cgroup. The kernel gives no promise while processes fork: the write is repeated, with a thaw and a pause now and
 * then, as runc found it to work.
 */
export async function freezeV1(folder: string): Promise<void> {
  const files = new FolderFiles(folder);
  try {
    for (let tries = 1; tries <= FREEZE_TRIES; tries++) {
      if (tries % 50 === 0) {
        files.write('freezer.state', 'THAWED');
        await delay(10);
      }
      files.write('freezer.state', 'FROZEN');
      if (tries % 25 === 0) await delay(1);
      if (files.read('freezer.state').trim() === 'FROZEN') return;
    }
    throw new CgroupProcessError(`${folder} does not freeze: freezer.state stays FREEZING`, {
      hint: 'A process in it hangs in the kernel, or processes are made faster than they can be stopped.',
    });
  } catch (error) {
    thawQuietly(files, 'freezer.state', 'THAWED');
    throw processError(error, `cannot freeze ${folder}`);
  }
}

/** Freezes a v2 cgroup and waits until cgroup.events says so. */
export async function freezeV2(folder: string): Promise<void> {
  const files = new FolderFiles(folder);
  try {
    files.write('cgroup.freeze', '1');
    const end = Date.now() + FREEZE_SECONDS * 1000;
    for (let pause = 1; !/^frozen 1$/m.test(files.read('cgroup.events')); pause = Math.min(pause * 2, 20)) {
      if (Date.now() > end)
        throw new CgroupProcessError(`${folder} is not frozen after ${FREEZE_SECONDS} s`, {
          hint: 'A process in it hangs in the kernel.',
        });
      await delay(pause);
    }
  } catch (error) {
    thawQuietly(files, 'cgroup.freeze', '0');
    throw processError(error, `cannot freeze ${folder}`);
  }
}

/** To leave a cgroup half frozen is worse than not to have frozen it. */
function thawQuietly(files: FolderFiles, file: string, value: string): void {
  try {
    files.write(file, value);
  } catch {
    // The first error is the one to tell.
  }
}

/** Lets processes go on; a cgroup that is gone has none. */
export function thaw(folder: string, version: 1 | 2): void {
  try {
    if (version === 1) new FolderFiles(folder).write('freezer.state', 'THAWED');
    else new FolderFiles(folder).write('cgroup.freeze', '0');
  } catch (error) {
    if (!GONE.includes(errnoOf(error))) throw processError(error, `cannot thaw ${folder}`);
  }
}

/** Whether this cgroup itself (not only a parent) is frozen. `undefined`: it is gone, or this kernel has no freezer. */
export function freezerState(folder: string, version: 1 | 2): FreezerState {
  const files = new FolderFiles(folder);
  const file = version === 1 ? 'freezer.self_freezing' : 'cgroup.freeze';
  const text = readOptional(files, file)?.trim();
  return text === undefined ? 'undefined' : text === '1' ? 'frozen' : 'thawed';
}

function processError(error: unknown, what: string): CgroupProcessError {
  if (error instanceof CgroupProcessError) return error;
  const errno = errnoOf(error);
  return new CgroupProcessError(`${what}: ${errno || String(error)}`, {
    hint: cgroupHint(errno),
    cause: error,
  });
}

const KILL_SECONDS = 10;

/**
 * Kills every process of a cgroup and of those below it, and waits until they are gone.
 *
 * @param killFolder v2 folder whose cgroup.kill (kernel 5.14) reaches them all, if there is one
 * @param freezer stops them from forking meanwhile; a process that is frozen dies only when thawed
 * @throws CgroupProcessError when some stay for 10 s: they hang in the kernel, or are zombies of the caller
 */
export async function killAll(
  folder: string,
  killFolder: string | undefined,
  freezer: { freeze(): Promise<void>; thaw(): void } | undefined,
): Promise<void> {
  const end = Date.now() + KILL_SECONDS * 1000;
  for (let pause = 1, atOnce = killFolder; ; pause = Math.min(pause * 2, 50)) {
    const left = pidsOf(folder, true);
    if (left.length === 0) return;
    if (Date.now() > end)
      throw new CgroupProcessError(`${left.length} processes of ${folder} do not die: ${left.join(', ')}`, {
        hint: 'They hang in the kernel (see /proc/PID/stack).',
      });
    try {
      if (!killAtOnce(atOnce)) {
        // With the freezer nothing escapes by forking; without, the loop runs after it.
        await freezer?.freeze().catch(() => {});
        for (const pid of pidsOf(folder, true)) killOne(pid);
      }
    } finally {
      freezer?.thaw();
    }
    // What is in the v1 hierarchies alone is not reached by it, so it has one go.
    atOnce = undefined;
    await delay(pause);
  }
}

function killAtOnce(folder: string | undefined): boolean {
  if (folder === undefined) return false;
  try {
    new FolderFiles(folder).write('cgroup.kill', '1');
    return true;
  } catch {
    return false;
  }
}

function killOne(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
