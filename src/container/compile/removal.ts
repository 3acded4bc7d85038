/**
 * The last steps of a launcher that takes its container away itself once that has ended: under the container's lock, the cgroups first and
 * the record last, so that whoever comes after a crash finds what is left. Where anything is not as it usually is (the lock is held, a cgroup
 * holds something), the engine does the rest.
 */
import type { Argument, Register, Struct } from '../plan/plan.js';
import { data, FDCWD, named, type ProgramBuilder, register } from './builder.js';
import { O, S, STAT } from './numbers.js';
import { TAG } from './tags.js';

/** What there is to remove. */
export interface Removal {
  /** The container's folder below the runtime's root. */
  readonly folder: string;
  readonly cgroups: readonly RemovedCgroup[];
}

/** The container's cgroup in one hierarchy. */
export interface RemovedCgroup {
  readonly folder: string;
  /** Below the mount point, from the innermost on: those that were made for containers go when they are empty. */
  readonly parents: readonly string[];
}

const LOCK_EX_NB = 6;
/** A program that ends at once may be faster than the engine, which holds the lock until the container is committed. */
const LOCK_TRIES = 4;
/** struct timespec: half a millisecond. */
const PAUSE: Struct = { bytes: new Uint8Array(new BigUint64Array([0n, 500_000n]).buffer), text: '{0.5 ms}' };

/** Waits for the container, removes it, and leaves as it did. */
export function superviseAndRemove(
  launcher: ProgramBuilder,
  { folder, cgroups }: Removal,
  child: Register,
): void {
  const rest = launcher.newLabel('leave-the-rest');
  const attempt = (what: string, call: Parameters<ProgramBuilder['call']>[1], args: readonly Argument[]) => {
    launcher.call(what, call, args, { allow: 'any', result: 'removed' });
    launcher.jump('negative', 'removed', rest);
  };
  // Whatever another container of this name may have at the same path later on.
  launcher.open(`open ${folder}`, folder, ['PATH', 'DIRECTORY', 'NOFOLLOW'], 'folder');
  launcher.add({
    op: 'supervise',
    what: 'wait for the container',
    child,
    reap: false,
    tag: TAG.ended,
    result: 'status',
  });
  const flags = named(O.RDWR | O.NOFOLLOW | O.CLOEXEC, 'O_RDWR|O_NOFOLLOW|O_CLOEXEC');
  const at = register('folder');
  launcher.call("open the container's lock", 'openat', [at, data('lock'), flags, 0], {
    allow: 'any',
    result: 'lock',
  });
  launcher.jump('negative', 'lock', rest);
  const lock = [register('lock'), named(LOCK_EX_NB, 'LOCK_EX|LOCK_NB')];
  const locked = launcher.newLabel('locked');
  for (let tries = 1; tries < LOCK_TRIES; tries++) {
    launcher.call('take the lock', 'flock', lock, { allow: 'any', result: 'removed' });
    launcher.jump('not-negative', 'removed', locked);
    launcher.call('give the engine time to commit', 'nanosleep', [data(PAUSE), 0], { allow: 'any' });
  }
  attempt('take the lock', 'flock', lock);
  launcher.label(locked);
  const stat = launcher.stat('look at the lock', 'lock');
  launcher.compare('see that nobody has removed it', { from: stat, at: STAT.nlink, size: 8 }, 1, 'removed');
  launcher.jump('zero', 'removed', rest);
  for (const cgroup of cgroups) attempt(`remove ${cgroup.folder}`, 'rmdir', [data(cgroup.folder)]);
  for (const { parents } of cgroups) removeParents(launcher, parents, stat);
  for (const name of ['config.json', 'state.json', 'lock'])
    attempt(`remove ${name}`, 'unlinkat', [at, data(name), 0]);
  attempt(`remove ${folder}`, 'rmdir', [data(folder)]);
  const last = { op: 'end', what: 'leave as the container did', status: 'status' } as const;
  launcher.add({ ...last, tag: TAG.removed, alone: true });
  launcher.label(rest);
  // The engine takes it then.
  launcher.unless('negative', 'lock', 'unlocked', () => launcher.close('lock'));
  launcher.add({ ...last, tag: TAG.ended, alone: false });
}

/** As unmakeParents of src/container/cgroup: the sticky bit tells those that were made for containers. */
function removeParents(launcher: ProgramBuilder, parents: readonly string[], stat: Struct): void {
  if (parents.length === 0) return;
  const end = launcher.newLabel('keep-parents');
  const sticky = { from: stat, at: STAT.mode, size: 4, mask: S.ISVTX } as const;
  for (const parent of parents) {
    const gone = launcher.newLabel('gone-already');
    const found = { allow: 'any', result: 'removed' } as const;
    launcher.call(`look at ${parent}`, 'newfstatat', [FDCWD, data(parent), data(stat), 0], found);
    launcher.jump('negative', 'removed', gone);
    launcher.compare('see whether it was made for containers', sticky, S.ISVTX, 'removed');
    launcher.jump('zero', 'removed', end);
    launcher.call(`remove ${parent}`, 'rmdir', [data(parent)], found);
    launcher.jump('negative', 'removed', end);
    launcher.label(gone);
  }
  launcher.label(end);
}
