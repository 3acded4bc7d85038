/**
 * `mounts` of config.json, in the listed order (config.md, "Mounts"). Every mount is made detached, with all it shall allow, and then
 * attached to a mount point by descriptor: at no time does it show with fewer restrictions, and no path of the container's is walked twice.
 */
import type { Register } from '../plan/plan.js';
import { type MountOptions, MS, parseMountOptions } from '../spec/mount-options.js';
import type { OciMount, OciSpec } from '../spec/types.js';
import { setBindAttributes } from './bind-attributes.js';
import {
  data,
  FDCWD,
  fileType,
  fsType,
  IN_ROOT,
  NULL,
  named,
  type ProgramBuilder,
  register,
} from './builder.js';
import { mountCgroups } from './cgroups.js';
import { type Filesystem, fitsFsconfig, makeFilesystem, reconfigure, splitOptions } from './filesystems.js';
import { attributesOf, CONTAINER_PROC, finishTree, type MountContext } from './mount-context.js';
import { MAGIC, O, S, STAT } from './numbers.js';
import { sourcePath, takeSource } from './sources.js';
import {
  checkDestination,
  destinationPath,
  ensurePlainTarget,
  ensureTarget,
  ensureTargetLike,
  refuseProc,
} from './targets.js';
import { attachTree, cloneTree, descriptorPath, setAttributes } from './trees.js';

/** True where some mount brings a fresh procfs to /proc. */
export function mountsProc(spec: OciSpec): boolean {
  return (spec.mounts ?? []).some(
    (mount) => mount.type === 'proc' && isPlain(mount) && destinationPath(mount.destination) === '/proc',
  );
}

/** Whether what that procfs shows of the own descriptors can be followed. */
export function procIsFollowed(spec: OciSpec): boolean {
  return (
    mountsProc(spec) &&
    !(spec.mounts ?? []).some(
      ({ destination, options = [] }) =>
        destinationPath(destination) === '/proc' && options.some((option) => option.includes('nosymfollow')),
    )
  );
}

function isPlain(mount: OciMount): boolean {
  const { bind, remount } = parseMountOptions(mount.options ?? []);
  return bind === undefined && mount.type !== 'bind' && !remount;
}

/** All of them. @throws CompileError */
export function mountAll(init: ProgramBuilder, at: MountContext): void {
  at.spec.mounts?.forEach((mount, index) => {
    const path = destinationPath(mount.destination);
    const options = parseMountOptions(mount.options ?? []);
    checkDestination(path, index);
    if (options.remount) remount(init, path, options);
    else if (options.bind !== undefined || mount.type === 'bind') bind(init, at, mount, path, options);
    else if (mount.type === 'cgroup') mountCgroups(init, at, path, options);
    else mountFilesystem(init, at, mount, path, options);
  });
  // Only now: until here other mounts may have had to be made in them.
  for (const path of readonlyLater(at.spec)) if (path !== '/dev') makeReadonly(init, path);
}

/** A read-only /dev becomes so when its devices and its console are there. */
export function makeDevReadonly(init: ProgramBuilder, spec: OciSpec): void {
  if (readonlyLater(spec).includes('/dev')) makeReadonly(init, '/dev');
}

/** Where something has to be made in a read-only mount before it is. */
function readonlyLater({ mounts = [] }: OciSpec): readonly string[] {
  return mounts.flatMap((mount) => {
    const path = destinationPath(mount.destination);
    const { flags } = parseMountOptions(mount.options ?? []);
    const later = isPlain(mount) && (mount.type === 'tmpfs' || path === '/dev');
    return later && (flags & MS.RDONLY) !== 0 ? [path] : [];
  });
}

function makeReadonly(init: ProgramBuilder, path: string): void {
  const what = `make ${path} read-only`;
  init.openAt2(what, register('root'), path.slice(1), ['PATH'], IN_ROOT, { result: 'target' });
  setAttributes(init, what, 'target', { set: { value: 1, text: 'MOUNT_ATTR_RDONLY' } });
  init.close('target');
}

function bind(
  init: ProgramBuilder,
  at: MountContext,
  mount: OciMount,
  path: string,
  options: MountOptions,
): void {
  const source = sourcePath(mount, at.context);
  const what = `bind ${source} to ${path}`;
  const reach = options.bind ?? 'one';
  const hint = 'The source of a bind mount must exist: the container does not make it.';
  const kept = at.sources.get(mount);
  if (kept === undefined) cloneTree(init, what, FDCWD, source, reach, 'tree', { hint });
  else if (kept.mapped) takeSource(init, source, kept.descriptor, 'tree');
  else {
    // What the namespace's root may reach itself comes with the host's restrictions locked; the launcher's copy is for the rest.
    cloneTree(init, what, FDCWD, source, reach, 'tree', { allow: ['EACCES'], hint });
    init.unless('not-negative', 'tree', 'reachable', () => takeSource(init, source, kept.descriptor, 'tree'));
  }
  if (path === '/proc') {
    const statfs = init.statfs(`look what ${source} is`, 'tree');
    init.expect(`bind ${source} to /proc: it is no procfs`, fsType(statfs), MAGIC.PROC, 'EINVAL');
  }
  const stat = init.stat(`look what ${source} is`, 'tree');
  init.compare(`look what ${source} is`, fileType(stat), S.IFDIR, 'is-directory');
  setBindAttributes(init, path, options, at.namespaces.user || at.context.host.userNamespace === true);
  ensureTargetLike(init, path, 'is-directory');
  if (path !== '/proc') refuseProc(init, path);
  attachTree(init, what, 'tree', 'target');
  init.close('target');
  finishTree(init, path, options);
  init.close('tree');
}

/** Other mounts: what they are made of. */
function filesystemOf(at: MountContext, mount: OciMount, path: string, options: MountOptions): Filesystem {
  const type = mount.type ?? 'none';
  const label =
    at.label !== undefined && !['proc', 'sysfs', 'mqueue', 'cgroup2'].includes(type)
      ? [`context="${at.label}"`]
      : [];
  const later = type === 'tmpfs' || path === '/dev';
  const { set } = options.attributes;
  return {
    type,
    source: mount.source ?? type,
    flags: options.superblock.filter((flag) => flag !== 'rw' && !(later && flag === 'ro')),
    data: [...options.data, ...label],
    attributes: later ? set & ~MS.RDONLY : set,
  };
}

function mountFilesystem(
  init: ProgramBuilder,
  at: MountContext,
  mount: OciMount,
  path: string,
  options: MountOptions,
): void {
  const filesystem = filesystemOf(at, mount, path, options);
  const what = `mount ${filesystem.type} at ${path}`;
  if (filesystem.type === 'proc' || filesystem.type === 'sysfs') {
    mountKernelView(init, at, filesystem, path, options);
    return;
  }
  if (options.onlyMount2 || !fitsFsconfig(filesystem)) {
    mountOldWay(init, filesystem, path, options);
    return;
  }
  const copiesMode =
    filesystem.type === 'tmpfs' && !splitOptions(options.data).some((option) => option.startsWith('mode='));
  if (copiesMode) {
    // A tmpfs without a mode of its own takes the mode of what it covers.
    init.openAt2(`look what is at ${path}`, register('root'), path.slice(1), ['PATH', 'DIRECTORY'], IN_ROOT, {
      allow: ['ENOENT'],
      result: 'covered',
    });
  }
  makeFilesystem(init, what, filesystem, 'tree');
  ensureTargetLikeFilesystem(init, path, filesystem.type);
  refuseProc(init, path);
  if (copiesMode) init.unless('negative', 'covered', 'new-place', () => copyMode(init, path));
  if (options.tmpcopyup && filesystem.type === 'tmpfs') copyUp(init, path);
  attachTree(init, what, 'tree', 'target');
  init.close('target');
  finishTree(init, path, options);
  init.close('tree');
}

function ensureTargetLikeFilesystem(init: ProgramBuilder, path: string, type: string): void {
  // nsfs and the like could be files, but none of them is mounted by type.
  ensureTarget(init, path, type === 'none' ? 'file' : 'directory');
}

function openTree(init: ProgramBuilder, what: string, from: Register, result: Register): void {
  init.call(
    what,
    'openat',
    [register(from), data('.'), named(O.DIRECTORY | O.CLOEXEC, 'O_RDONLY|O_DIRECTORY|O_CLOEXEC'), 0],
    { result },
  );
}

function copyMode(init: ProgramBuilder, path: string): void {
  const what = `give the tmpfs at ${path} the mode of what it covers`;
  const stat = init.stat(what, 'covered');
  init.add({ op: 'load', what, from: stat, at: STAT.mode, size: 4, mask: 0o7777, result: 'mode' });
  openTree(init, what, 'tree', 'file');
  init.call(what, 'fchmod', [register('file'), register('mode')]);
  init.close('file');
  init.close('covered');
}

function copyUp(init: ProgramBuilder, path: string): void {
  const what = `copy ${path} into its tmpfs`;
  openTree(init, what, 'target', 'from');
  openTree(init, what, 'tree', 'file');
  init.add({ op: 'copy-tree', what, from: 'from', to: 'file' });
  init.close('file');
  init.close('from');
}

/** procfs and sysfs: at their very place. In a user namespace without a network namespace of its own, sysfs can only be bound. */
function mountKernelView(
  init: ProgramBuilder,
  at: MountContext,
  filesystem: Filesystem,
  path: string,
  options: MountOptions,
): void {
  const what = `mount ${filesystem.type} at ${path}`;
  const bindable =
    filesystem.type === 'sysfs' &&
    (at.namespaces.user || at.context.host.userNamespace === true) &&
    !at.namespaces.created.has('network');
  makeFilesystem(init, what, filesystem, 'tree', bindable ? ['EPERM'] : undefined);
  if (bindable) {
    init.unless('not-negative', 'tree', 'own-sysfs', () => {
      cloneTree(init, "bind the host's /sys", FDCWD, '/sys', 'recursive', 'tree');
      const { set, clear } = options.attributes;
      if ((set | clear) !== 0)
        setAttributes(init, `set what ${path} allows`, 'tree', attributesOf(set, 0), 'recursive');
    });
  }
  ensurePlainTarget(init, path);
  attachTree(init, what, 'tree', 'target');
  init.close('target');
  finishTree(init, path, options);
  if (filesystem.type === 'proc' && path === '/proc') {
    init.duplicate('keep /proc', register('tree'), CONTAINER_PROC);
  }
  init.close('tree');
}

/** mount(2), for what fsconfig(2) cannot say: on the descriptor's own path, so that no name is looked up again. */
function mountOldWay(
  init: ProgramBuilder,
  filesystem: Filesystem,
  path: string,
  options: MountOptions,
): void {
  const what = `mount ${filesystem.type} at ${path}`;
  ensureTarget(init, path, 'directory');
  refuseProc(init, path);
  init.call('go to /proc', 'fchdir', [register('proc')]);
  const target = descriptorPath(init, 'target');
  const flags = filesystem.type === 'tmpfs' ? options.flags & ~MS.RDONLY : options.flags;
  init.call(what, 'mount', [
    data(filesystem.source ?? filesystem.type),
    data(target),
    data(filesystem.type),
    named(flags, `0x${flags.toString(16)}`),
    filesystem.data === undefined || filesystem.data.length === 0 ? NULL : data(filesystem.data.join(',')),
  ]);
  init.call('go to /', 'chdir', [data('/')]);
  init.close('target');
  init.openAt2(what, register('root'), path.slice(1), ['PATH'], IN_ROOT, { result: 'tree' });
  finishTree(init, path, options);
  init.close('tree');
}

/** `remount`: other flags for what is mounted there already; with `bind` of the mount alone. */
function remount(init: ProgramBuilder, path: string, options: MountOptions): void {
  const what = `remount ${path}`;
  init.openAt2(what, register('root'), path.slice(1), ['PATH'], IN_ROOT, { result: 'target' });
  refuseProc(init, path);
  if (options.bind === undefined && options.superblock.length + options.data.length > 0)
    reconfigure(init, what, [...options.superblock, ...options.data]);
  const { set, clear } = options.attributes;
  if ((set | clear) !== 0) setAttributes(init, what, 'target', attributesOf(set, clear));
  init.duplicate('keep the mount', register('target'), 'tree');
  finishTree(init, path, options);
  init.close('tree');
  init.close('target');
}
