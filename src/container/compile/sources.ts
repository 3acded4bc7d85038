/**
 * What bind mounts need from outside of the container's namespaces, opened by the launcher before it gives birth: sources that the root of
 * a user namespace may not reach, and id-mapped copies, which only the owner of the file system may make. Each is kept at a descriptor of its
 * own from {@link FIRST_SOURCE} on.
 */
import { posix } from 'node:path';
import { MOUNT_ATTR, MS, parseMountOptions } from '../spec/mount-options.js';
import { NAMESPACES } from '../spec/namespaces.js';
import type { OciIdMapping, OciMount, OciSpec } from '../spec/types.js';
import { data, FDCWD, named, ProgramBuilder, register } from './builder.js';
import type { CreateContext } from './context.js';
import { CompileError } from './errors.js';
import { type NamespacePlan, writeIdMaps } from './namespaces.js';
import { O } from './numbers.js';
import { cloneTree, setAttributes } from './trees.js';

/** Counted from the control socket's: above every descriptor that a plan otherwise opens, below any usual limit. */
const FIRST_SOURCE = 100;

const SIGKILL = 9;
/** Waits for children whatever their signal. */
const __WALL = 0x4000_0000;

/** The descriptor behind the last source's. */
export function nextSource(context: CreateContext, sources: Sources): number {
  return context.control + FIRST_SOURCE + sources.size;
}

/** A bind mount's source on the host. */
export function sourcePath(mount: OciMount, context: CreateContext): string {
  return posix.resolve(context.bundle, mount.source ?? '');
}

/** The descriptor at which the launcher keeps a mount's source; undefined where `init` opens it itself. */
export type Sources = ReadonlyMap<OciMount, { readonly descriptor: number; readonly mapped: boolean }>;

/** The user namespace whose maps an id-mapped mount takes. */
function mappingsOf(
  mount: OciMount,
  spec: OciSpec,
): { uids: readonly OciIdMapping[]; gids: readonly OciIdMapping[] } | 'joined' {
  const uids = mount.uidMappings ?? spec.linux?.uidMappings;
  const gids = mount.gidMappings ?? spec.linux?.gidMappings;
  return uids === undefined || gids === undefined ? 'joined' : { uids, gids };
}

/**
 * Opens them. Programs that hold mappings while they are copied are added to `helpers`, which stand behind the launcher in the plan.
 * @throws CompileError for an id-mapped mount without the privileges for it
 */
export function openSources(
  launcher: ProgramBuilder,
  spec: OciSpec,
  context: CreateContext,
  namespaces: NamespacePlan,
  helpers: ProgramBuilder[],
): Sources {
  const sources = new Map<OciMount, { descriptor: number; mapped: boolean }>();
  const held = new Map<string, string>();
  spec.mounts?.forEach((mount, index) => {
    const options = parseMountOptions(mount.options ?? []);
    const mapped = options.idmap !== undefined || mount.uidMappings !== undefined;
    if (options.bind === undefined || options.remount) return;
    if (mapped && context.host.rootless)
      throw new CompileError(
        `mounts[${index}]`,
        'maps ids, which only root may ask for',
        'Leave idmap and the mappings out.',
      );
    // Without a user namespace init has the same rights, and a rootless launcher has none that its child would lack.
    if (!mapped && (!namespaces.user || context.host.rootless)) return;
    const descriptor = context.control + FIRST_SOURCE + sources.size;
    const path = sourcePath(mount, context);
    const hint = 'The source of a bind mount must exist: the container does not make it.';
    cloneTree(
      launcher,
      `open ${path} for the mount at ${mount.destination}`,
      FDCWD,
      path,
      options.bind,
      'tree',
      { hint },
    );
    // In the container's own copy of the mount namespace the source would hear the host, and not be heard.
    setAttributes(launcher, `cut ${path} off`, 'tree', { propagation: MS.SLAVE }, 'recursive');
    if (mapped) {
      const maps = mappingsOf(mount, spec);
      const key = JSON.stringify(maps);
      const namespace = held.get(key) ?? holdMappings(launcher, maps, `maps-${held.size}`, helpers);
      held.set(key, namespace);
      setAttributes(
        launcher,
        `map the ids of ${path}`,
        'tree',
        { set: { value: MOUNT_ATTR.IDMAP, text: 'MOUNT_ATTR_IDMAP' }, userNamespace: namespace },
        options.idmap === 'recursive' ? 'recursive' : 'one',
        {
          hint: 'The file system must support id-mapped mounts (Linux 5.12 or later; see mount_setattr(2)).',
        },
      );
    }
    launcher.call(`keep ${path}`, 'dup3', [register('tree'), descriptor, named(O.CLOEXEC, 'O_CLOEXEC')]);
    launcher.close('tree');
    sources.set(mount, { descriptor, mapped });
  });
  for (const name of held.values()) if (name !== 'ns-user') launcher.close(name);
  return sources;
}

/** A descriptor of a user namespace with the given maps: that of a child that lives just as long as it takes to open it. */
function holdMappings(
  launcher: ProgramBuilder,
  maps: ReturnType<typeof mappingsOf>,
  name: string,
  helpers: ProgramBuilder[],
): string {
  if (maps === 'joined') return 'ns-user';
  const helper = new ProgramBuilder(name);
  // Never told: it waits until it is killed.
  helper.add({ op: 'receive', what: 'wait', tag: 99, peer: 'launcher' });
  helper.add({ op: 'exit', what: 'end', status: 0 });
  helpers.push(helper);
  const pid = `${name}-pid`;
  launcher.add({
    op: 'clone',
    what: 'make a user namespace for the mappings of a mount',
    flags: BigInt(NAMESPACES.user.flag),
    child: name,
    result: pid,
  });
  writeIdMaps(launcher, maps.uids, maps.gids, pid, false);
  const path = { bytes: new Uint8Array(12), text: `<${pid}>` };
  launcher.add({
    op: 'decimal',
    what: 'write a pid',
    from: pid,
    into: path,
    at: 0,
    width: 11,
    align: 'left',
  });
  launcher.openAt2(
    `open /proc/<${pid}>`,
    register('proc'),
    path,
    ['PATH', 'DIRECTORY'],
    ['BENEATH', 'NO_XDEV'],
    {
      result: 'process',
    },
  );
  // A namespace's file is a magic link: openat follows what openat2 would be told not to.
  launcher.call(
    'open the user namespace of a mount',
    'openat',
    [register('process'), data('ns/user'), named(O.CLOEXEC, 'O_RDONLY|O_CLOEXEC'), 0],
    { result: name },
  );
  launcher.close('process');
  launcher.call('end the holder of the mappings', 'kill', [register(pid), named(SIGKILL, 'SIGKILL')]);
  launcher.call('wait for its end', 'wait4', [register(pid), 0, named(__WALL, '__WALL'), 0], {
    allow: ['ECHILD'],
  });
  return name;
}

/** A copy of the descriptor at which the launcher kept a source. */
export function takeSource(init: ProgramBuilder, path: string, descriptor: number, result: string): void {
  init.duplicate(`take ${path} from the launcher`, descriptor, result);
}
