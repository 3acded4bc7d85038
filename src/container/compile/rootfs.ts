/**
 * The container's root (config.md, "Root"; config-linux.md, "Rootfs Mount Propagation"): a private copy of the root's mount tree is attached
 * where the root lies, everything is built in it through its descriptor, and then it becomes the root. Nothing of it is ever reached by a path
 * that leads through the host's tree.
 */
import { posix } from 'node:path';
import { MS, propagationFlags } from '../spec/mount-options.js';
import type { OciSpec } from '../spec/types.js';
import { bits, data, FDCWD, NULL, named, type ProgramBuilder, register } from './builder.js';
import type { CreateContext } from './context.js';
import { CompileError } from './errors.js';
import { MNT_DETACH, MOVE_MOUNT } from './numbers.js';
import { cloneTree, setAttributes } from './trees.js';

/** Absolute path of the root on the host. */
export function rootPath(spec: OciSpec, context: CreateContext): string {
  return posix.resolve(context.bundle, spec.root.path);
}

function propagation(spec: OciSpec): number {
  const asked = spec.linux?.rootfsPropagation;
  return (asked === undefined ? undefined : propagationFlags(asked)) ?? MS.SLAVE | MS.REC;
}

const KINDS: readonly (readonly [number, string])[] = [
  [MS.SHARED, 'MS_SHARED'],
  [MS.SLAVE, 'MS_SLAVE'],
  [MS.PRIVATE, 'MS_PRIVATE'],
  [MS.UNBINDABLE, 'MS_UNBINDABLE'],
  [MS.REC, 'MS_REC'],
];

function propagationName(flags: number): string {
  return KINDS.filter(([bit]) => (flags & bit) !== 0)
    .map(([, name]) => name)
    .join('|');
}

/**
 * Cuts the new mount namespace off the host's, as far as the configuration allows: nothing that is mounted here may show up there, but
 * where `shared` asks for it.
 */
export function isolateMounts(init: ProgramBuilder, spec: OciSpec, context: CreateContext): void {
  const asked = propagation(spec);
  // An unbindable "/" could not be copied from; the root gets that at the end.
  const flags = (asked & MS.UNBINDABLE) !== 0 ? (asked & MS.REC) | MS.PRIVATE : asked;
  init.call('set the propagation of the mount namespace', 'mount', [
    NULL,
    data('/'),
    NULL,
    named(flags, propagationName(flags)),
    NULL,
  ]);
  if ((flags & MS.REC) !== 0 && (flags & MS.SHARED) === 0) return;
  // The mount that holds the root must not be shared: pivot_root(2) refuses that, and what is mounted below would reach the host.
  const own = (flags & MS.SLAVE) !== 0 ? MS.SLAVE : MS.PRIVATE;
  const done = init.newLabel('parent-private');
  for (let path = rootPath(spec, context); ; path = posix.dirname(path)) {
    init.call(
      'take the mount that holds the root out of its peer group',
      'mount',
      [NULL, data(path), NULL, named(own, propagationName(own)), NULL],
      // EINVAL: this is no mount point; its parent may be.
      path === '/' ? {} : { allow: ['EINVAL'], result: 'made' },
    );
    if (path === '/') break;
    init.jump('not-negative', 'made', done);
  }
  init.label(done);
}

/** Makes `root` a descriptor of the container's root, mounted on its own place. */
export function bindRoot(init: ProgramBuilder, spec: OciSpec, context: CreateContext): void {
  const path = rootPath(spec, context);
  const hint = 'root.path must be a folder that the container may enter, relative to the bundle or absolute.';
  cloneTree(init, `bind the root ${path}`, FDCWD, path, 'recursive', 'root', { hint });
  setAttributes(init, 'make the root a mount of its own', 'root', { propagation: MS.PRIVATE });
  init.call(
    `mount the root at ${path}`,
    'move_mount',
    [
      register('root'),
      data(''),
      FDCWD,
      data(path),
      bits('MOVE_MOUNT_', MOVE_MOUNT, 'F_EMPTY_PATH', 'T_SYMLINKS'),
    ],
    { hint },
  );
}

/** Without a mount namespace: the folder itself. */
export function openRoot(init: ProgramBuilder, spec: OciSpec, context: CreateContext): void {
  const path = rootPath(spec, context);
  init.open(`open the root ${path}`, path, ['PATH', 'DIRECTORY'], 'root');
}

export function makeRootReadonly(init: ProgramBuilder, spec: OciSpec): void {
  if (spec.root.readonly === true)
    setAttributes(init, 'make the root read-only', 'root', { set: { value: 1, text: 'MOUNT_ATTR_RDONLY' } });
}

/** `root` becomes the root of this mount namespace, and the host's is gone from it. */
export function enterRoot(
  init: ProgramBuilder,
  spec: OciSpec,
  context: CreateContext,
  mountNamespace: boolean,
): void {
  if (!mountNamespace) {
    init.call('go to the root', 'fchdir', [register('root')]);
    chroot(init);
    return;
  }
  if (context.noPivot === true) moveRoot(init, spec, context.kernelViews ?? ['/proc', '/sys']);
  else pivotRoot(init);
  const asked = propagation(spec);
  if ((asked & (MS.SHARED | MS.UNBINDABLE)) !== 0)
    init.call("set the propagation of the container's root", 'mount', [
      NULL,
      data('/'),
      NULL,
      named(asked, propagationName(asked)),
      NULL,
    ]);
}

function chroot(init: ProgramBuilder): void {
  init.call("make it this process's root", 'chroot', [data('.')]);
  init.call('go to the root', 'chdir', [data('/')]);
}

/** pivot_root(".", ".") stacks the old root upon the new one, where it is let go: no folder for it is needed. */
function pivotRoot(init: ProgramBuilder): void {
  init.open("open the host's root", '/', ['PATH', 'DIRECTORY'], 'host-root');
  init.call('go to the root', 'fchdir', [register('root')]);
  init.call("make it the mount namespace's root", 'pivot_root', [data('.'), data('.')], {
    hint: 'On a ramdisk as root file system pivot_root does not work: use --no-pivot.',
  });
  init.call("go to the host's root", 'fchdir', [register('host-root')]);
  // Not private: a mount that the host takes away meanwhile must go here, too.
  const flags = MS.SLAVE | MS.REC;
  init.call("keep the host's root from hearing", 'mount', [
    NULL,
    data('.'),
    NULL,
    named(flags, propagationName(flags)),
    NULL,
  ]);
  init.call("let the host's root go", 'umount2', [data('.'), named(MNT_DETACH, 'MNT_DETACH')]);
  init.close('host-root');
  init.call('go to the root', 'chdir', [data('/')]);
}

/**
 * For a root on the initial ramdisk, which cannot be pivoted away from. No procfs or sysfs of the host may stay: the kernel lets a user
 * namespace mount those anew as long as the mount namespace holds one with nothing hidden in it.
 */
function moveRoot(init: ProgramBuilder, spec: OciSpec, views: readonly string[]): void {
  const asked = propagation(spec);
  if ((asked & MS.PRIVATE) !== 0)
    throw new CompileError('linux.rootfsPropagation', 'must not be private where pivot_root is not used');
  init.call('go to the root', 'fchdir', [register('root')]);
  for (const path of views) {
    const slave = MS.SLAVE | MS.REC;
    init.call(
      `cut the host's ${path} off`,
      'mount',
      [NULL, data(path), NULL, named(slave, propagationName(slave)), NULL],
      {
        allow: ['EINVAL', 'ENOENT'],
        result: 'made',
      },
    );
    init.unless('negative', 'made', 'not-mounted', () => {
      init.call(`take the host's ${path} away`, 'umount2', [data(path), named(MNT_DETACH, 'MNT_DETACH')], {
        allow: ['EINVAL', 'EPERM'],
        result: 'made',
      });
      init.unless('not-negative', 'made', 'taken-away', () => {
        init.call(`cover the host's ${path}`, 'mount', [data('tmpfs'), data(path), data('tmpfs'), 0, NULL]);
      });
    });
  }
  init.call("move the root over the host's", 'mount', [
    data('.'),
    data('/'),
    NULL,
    named(MS.MOVE, 'MS_MOVE'),
    NULL,
  ]);
  chroot(init);
}
