/**
 * What a bind mount allows (config.md, "Mounts"; mount(8), "Bind mounts"). Without an option that says something about it, it allows what its source
 * does. With one it allows just what the options say, as a remount by mount(2) would have it and as other runtimes do it: `ro` alone makes a
 * `nosuid` source suid again. Access times are a matter of their own: they stay unless one of them is asked for.
 */
import { MOUNT_ATTR, type MountOptions, MS } from '../spec/mount-options.js';
import type { ProgramBuilder } from './builder.js';
import { attributesOf } from './mount-context.js';
import { setAttributes } from './trees.js';

const TIMES = MS.NOATIME | MS.NODIRATIME | MS.RELATIME | MS.STRICTATIME;
const TIME_ATTRIBUTES = MOUNT_ATTR._ATIME | MOUNT_ATTR.NODIRATIME;
/** What the kernel locks where a mount comes into a user namespace from outside. */
const LOCKED = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC | TIME_ATTRIBUTES;

export interface BindAttributes {
  readonly set: number;
  readonly clear: number;
  /** Of `clear`, what was not asked for by name, and can be locked. */
  readonly implied: number;
}

/** Undefined where the options say nothing. */
export function bindAttributes({ attributes, flags }: MountOptions): BindAttributes | undefined {
  if ((attributes.set | attributes.clear) === 0) return undefined;
  const times = (flags & TIMES) !== 0;
  const touched = LOCKED | MOUNT_ATTR.NOSYMFOLLOW;
  const set = times ? attributes.set : attributes.set & ~TIME_ATTRIBUTES;
  const clear =
    (touched & ~set & ~TIME_ATTRIBUTES) | (times ? TIME_ATTRIBUTES & ~(set & MOUNT_ATTR.NODIRATIME) : 0);
  return { set, clear, implied: clear & LOCKED & ~attributes.clear & ~TIME_ATTRIBUTES };
}

/** @param foreign the mounts of the host are another user namespace's: what is locked and not asked for by name stays as it is */
export function setBindAttributes(
  init: ProgramBuilder,
  path: string,
  options: MountOptions,
  foreign: boolean,
): void {
  const wanted = bindAttributes(options);
  if (wanted === undefined) return;
  const { set, clear, implied } = wanted;
  const what = `set what ${path} allows`;
  const hint =
    'What the host has locked (ro, nosuid, nodev, noexec, atime) cannot be cleared in a user namespace.';
  if (!foreign || implied === 0) {
    setAttributes(init, what, 'tree', attributesOf(set, clear), 'one', { hint });
    return;
  }
  setAttributes(init, what, 'tree', attributesOf(set, clear), 'one', { allow: ['EPERM'], result: 'set' });
  init.unless('not-negative', 'set', 'unlocked', () => {
    // One by one: a single locked one would keep the others.
    for (let bit = 1; bit <= implied; bit *= 2)
      if ((implied & bit) !== 0)
        setAttributes(init, what, 'tree', attributesOf(0, bit), 'one', { allow: ['EPERM'] });
    setAttributes(init, what, 'tree', attributesOf(set, clear & ~implied), 'one', { hint });
  });
}
