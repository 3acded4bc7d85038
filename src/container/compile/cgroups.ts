/**
 * cgroups: the process joins those that were made for it, and mounts of type `cgroup` show them. With cgroup v1 that is a tmpfs with one folder a
 * hierarchy; with v2 one mount. In a cgroup namespace the hierarchies are mounted, without one the container's own cgroups are bound.
 */
import { MOUNT_ATTR, type MountOptions, MS } from '../spec/mount-options.js';
import { data, FDCWD, named, type ProgramBuilder, register } from './builder.js';
import type { CgroupHierarchy, CreateContext, ExecContext } from './context.js';
import { makeFilesystem } from './filesystems.js';
import { finishTree, type MountContext } from './mount-context.js';
import type { NamespacePlan } from './namespaces.js';
import { TAG } from './tags.js';
import { ensureTarget, refuseProc } from './targets.js';
import { attachTree, cloneTree, setAttributes } from './trees.js';

type JoinedContext = Pick<CreateContext | ExecContext, 'cgroup' | 'resctrlTasks'>;

/** resctrl's classes of service are joined as cgroups of version 1 are. */
function tasksOf({ cgroup, resctrlTasks }: JoinedContext): readonly string[] {
  return [...(cgroup?.tasks ?? []), ...(resctrlTasks ?? [])];
}

/** Opens what a process joins by, while it can still be reached. */
export function openCgroups(launcher: ProgramBuilder, context: JoinedContext): void {
  const { cgroup } = context;
  tasksOf(context).forEach((path, index) => {
    launcher.open(`open ${path}`, path, ['WRONLY'], `cgroup-${index}`);
  });
  if (cgroup?.unified !== undefined)
    launcher.open(
      `open the cgroup ${cgroup.unified}`,
      cgroup.unified,
      ['PATH', 'DIRECTORY'],
      'cgroup-unified',
    );
}

/** Waits until the engine has made the cgroup. */
export function awaitCgroup(program: ProgramBuilder): void {
  program.add({ op: 'receive', what: 'wait for the cgroup', tag: TAG.cgroup });
}

/** Whether the first process opens what it joins by itself, since it still sees what the launcher sees and may do what that may. */
export function entersByItself({ cgroupLater, cgroup }: CreateContext, namespaces: NamespacePlan): boolean {
  return (
    cgroupLater === true &&
    cgroup !== undefined &&
    // It has to be born there.
    cgroup.unified === undefined &&
    !namespaces.user &&
    !namespaces.joined.has('mount')
  );
}

/** Joins them: `0` is the process that writes. */
export function joinCgroups(
  program: ProgramBuilder,
  context: JoinedContext,
  { open = false }: { open?: boolean } = {},
): void {
  tasksOf(context).forEach((path, index) => {
    if (open) program.open(`open ${path}`, path, ['WRONLY'], `cgroup-${index}`);
    program.write(`join ${path}`, `cgroup-${index}`, '0', {
      hint: 'The cgroup must still be there, and its cpuset must have CPUs and memory nodes.',
    });
    program.close(`cgroup-${index}`);
  });
}

/** A mount of type `cgroup`. */
export function mountCgroups(
  init: ProgramBuilder,
  at: MountContext,
  path: string,
  options: MountOptions,
): void {
  const hierarchies = at.context.cgroup?.hierarchies ?? [];
  const [first] = hierarchies;
  if (first?.name === '') mountHierarchy(init, at, first, path, options);
  else mountAllHierarchies(init, at, hierarchies, path, options);
}

/** One hierarchy at `path`, or the container's part of it. */
function mountHierarchy(
  init: ProgramBuilder,
  at: MountContext,
  hierarchy: CgroupHierarchy,
  path: string,
  options: MountOptions,
): void {
  const what = `mount the cgroups of ${hierarchy.folder} at ${path}`;
  const set = options.attributes.set;
  const bindOwn = () => {
    cloneTree(init, what, FDCWD, hierarchy.folder, 'one', 'tree');
    if (set !== 0) setAttributes(init, what, 'tree', { set: { value: set, text: `0x${set.toString(16)}` } });
  };
  // Without a cgroup namespace a fresh mount would show all cgroups of the host.
  if (at.namespaces.has('cgroup')) {
    const { type } = hierarchy;
    makeFilesystem(init, what, { type, source: 'cgroup', data: hierarchy.options, attributes: set }, 'tree', [
      'EPERM',
      'EBUSY',
    ]);
    init.unless('not-negative', 'tree', 'fresh', bindOwn);
  } else bindOwn();
  ensureTarget(init, path, 'directory');
  refuseProc(init, path);
  attachTree(init, what, 'tree', 'target');
  init.close('target');
  finishTree(init, path, options);
  init.close('tree');
}

function mountAllHierarchies(
  init: ProgramBuilder,
  at: MountContext,
  hierarchies: readonly CgroupHierarchy[],
  path: string,
  options: MountOptions,
): void {
  const what = `mount a tmpfs for the cgroups at ${path}`;
  const attributes = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
  makeFilesystem(init, what, { type: 'tmpfs', source: 'tmpfs', data: ['mode=755'], attributes }, 'tree');
  ensureTarget(init, path, 'directory');
  refuseProc(init, path);
  attachTree(init, what, 'tree', 'target');
  init.close('target');
  init.duplicate('keep the tmpfs', register('tree'), 'cgroup-tmpfs');
  init.close('tree');
  for (const hierarchy of hierarchies) {
    const folder = `${path}/${hierarchy.name}`;
    // Straight into the tmpfs, which is ours alone: no path of the container's leads there.
    init.call(`make ${folder}`, 'mkdirat', [
      register('cgroup-tmpfs'),
      data(hierarchy.name),
      named(0o755, '0755'),
    ]);
    mountHierarchy(init, at, hierarchy, folder, {
      ...options,
      propagation: [],
      recursive: { set: 0, clear: 0 },
    });
    const controllers = hierarchy.name.split(',');
    if (controllers.length < 2) continue;
    for (const controller of controllers)
      init.call(
        `link ${controller} to ${hierarchy.name}`,
        'symlinkat',
        [data(hierarchy.name), register('cgroup-tmpfs'), data(controller)],
        { allow: ['EEXIST'] },
      );
  }
  if ((options.flags & MS.RDONLY) !== 0)
    setAttributes(init, `make ${path} read-only`, 'cgroup-tmpfs', {
      set: { value: MOUNT_ATTR.RDONLY, text: 'MOUNT_ATTR_RDONLY' },
    });
  init.duplicate('take the tmpfs', register('cgroup-tmpfs'), 'tree');
  finishTree(init, path, options);
  init.close('tree');
  init.close('cgroup-tmpfs');
}
