/**
 * Namespaces (config-linux.md, "Namespaces", "User namespace mappings", "Offset for Time Namespace"): which are joined and which are new, in
 * what order, and who maps the ids. New ones come with clone3, all at once, so that the kernel makes the user namespace first and gives
 * it the others; joined ones are opened before anything changes what paths mean.
 */
import type { Register } from '../plan/plan.js';
import { NAMESPACE_TYPES, NAMESPACES, type NamespaceType } from '../spec/namespaces.js';
import type { OciIdMapping, OciSpec } from '../spec/types.js';
import { data, named, type ProgramBuilder, register } from './builder.js';
import type { CreateContext } from './context.js';
import { CompileError } from './errors.js';
import { PEER, TAG } from './tags.js';

/** What a configuration asks for, type by type. */
export interface NamespacePlan {
  readonly joined: ReadonlyMap<NamespaceType, string>;
  readonly created: ReadonlySet<NamespaceType>;
  /** The container runs in a user namespace that is not the caller's. */
  readonly user: boolean;
  has(type: NamespaceType): boolean;
}

/** @throws CompileError for a namespace that this kernel does not have */
export function planNamespaces(spec: OciSpec, context: CreateContext): NamespacePlan {
  const joined = new Map<NamespaceType, string>();
  const created = new Set<NamespaceType>();
  spec.linux?.namespaces?.forEach(({ type, path }, index) => {
    if (!context.host.namespaces.includes(type))
      throw new CompileError(
        `linux.namespaces[${index}]`,
        `asks for a ${type} namespace, which this kernel does not have`,
      );
    if (path === undefined) created.add(type);
    else joined.set(type, path);
  });
  const has = (type: NamespaceType) => created.has(type) || joined.has(type);
  if (context.host.rootless && !has('user'))
    throw new CompileError(
      'linux.namespaces',
      'has no user namespace, without which only root can make a container',
      'Add {"type": "user"} with uidMappings and gidMappings, or run as root.',
    );
  return { joined, created, user: has('user'), has };
}

/**
 * Types that the first process makes itself. The cgroup namespace: its root is the cgroup that the process is in by then. With a new user
 * namespace the ipc namespace, whose message queues belong to the user who makes it: that is to be the container's root.
 */
export function madeByInit(plan: NamespacePlan): readonly NamespaceType[] {
  const types: NamespaceType[] = plan.created.has('user') ? ['ipc', 'cgroup'] : ['cgroup'];
  return types.filter((type) => plan.created.has(type));
}

/**
 * Whether the first process itself joins the cgroup namespace that the configuration names. From inside of one, the kernel lets nobody be born
 * into a cgroup who comes from outside of it (ENOENT, where cgroup v2 is mounted with nsdelegate). In a new user namespace it may not join it.
 */
export function joinsCgroupNamespaceLate(plan: NamespacePlan, context: CreateContext): boolean {
  return plan.joined.has('cgroup') && context.cgroup?.unified !== undefined && !plan.created.has('user');
}

/** CLONE_NEW* of what clone3 makes. */
export function cloneFlags(types: Iterable<NamespaceType>): bigint {
  let flags = 0n;
  for (const type of types) flags |= BigInt(NAMESPACES[type].flag);
  return flags;
}

/** Opens the namespaces to join: while paths still mean what the caller meant. */
export function openNamespaces(launcher: ProgramBuilder, plan: NamespacePlan): void {
  for (const [type, path] of plan.joined)
    launcher.open(`open the ${type} namespace ${path}`, path, ['RDONLY'], `ns-${type}`);
}

/**
 * Joins them. The mount namespace comes last. Where a user namespace is joined, too, the others are tried with the caller's own privileges
 * first (a network namespace may belong to root), and again with those inside.
 */
export function joinNamespaces(launcher: ProgramBuilder, plan: NamespacePlan, context: CreateContext): void {
  const { joined } = plan;
  const late = joinsCgroupNamespaceLate(plan, context) ? 'cgroup' : undefined;
  const others = NAMESPACE_TYPES.filter((type) => type !== 'user' && type !== late && joined.has(type));
  const join = (type: NamespaceType, allow?: readonly string[]) => {
    const kind = NAMESPACES[type];
    launcher.call(
      `join the ${type} namespace ${joined.get(type)}`,
      'setns',
      [register(`ns-${type}`), named(kind.flag, kind.flagName)],
      {
        // EINVAL is also what the kernel says to a file of another type.
        hint: `Check that the path is a ${type} namespace (/proc/PID/ns/${kind.file} or a bind mount of it).`,
        ...(allow === undefined ? {} : { allow, result: `joined-${type}` }),
      },
    );
  };
  if (!joined.has('user')) {
    for (const type of others) join(type);
    return;
  }
  for (const type of others) join(type, ['EPERM']);
  join('user');
  for (const type of others)
    launcher.unless('not-negative', `joined-${type}`, `${type}-joined`, () => join(type));
}

/** The first process is in its cgroup. */
export function joinCgroupNamespace(init: ProgramBuilder, plan: NamespacePlan, context: CreateContext): void {
  if (!joinsCgroupNamespaceLate(plan, context)) return;
  const { flag, flagName } = NAMESPACES.cgroup;
  init.call(`join the cgroup namespace ${plan.joined.get('cgroup')}`, 'setns', [
    register('ns-cgroup'),
    named(flag, flagName),
  ]);
}

/** The lines of a uid_map. */
function idMap(mappings: readonly OciIdMapping[]): string {
  return mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join('');
}

/** Whether a user namespace maps just the caller: what the kernel lets anybody do, if groups are given up (user_namespaces(7)). */
function mapsOnlyCaller(spec: OciSpec, context: CreateContext): boolean {
  const only = (mappings: readonly OciIdMapping[] | undefined, id: number) =>
    mappings?.length === 1 && mappings[0]?.hostID === id && mappings[0].size === 1;
  const { uid, gid } = context.host;
  return only(spec.linux?.uidMappings, uid) && only(spec.linux?.gidMappings, gid);
}

/** Whether the container's user namespace denies setgroups(2). */
export function deniesSetgroups(spec: OciSpec, context: CreateContext): boolean {
  const { rootless, setgroupsDenied } = context.host;
  return setgroupsDenied === true || (rootless && whoMaps(spec, context) === 'launcher');
}

function whoMaps(spec: OciSpec, context: CreateContext): 'launcher' | 'engine' {
  return context.idMaps ?? (context.host.rootless && !mapsOnlyCaller(spec, context) ? 'engine' : 'launcher');
}

/** Maps the ids of the child that has the new user namespace, and lets it go on. `pid` is the child's. */
export function mapIds(
  launcher: ProgramBuilder,
  spec: OciSpec,
  context: CreateContext,
  pid: Register,
  peer: string,
): void {
  if (whoMaps(spec, context) === 'engine') {
    launcher.add({
      op: 'send',
      what: 'ask for the id maps of the user namespace',
      tag: TAG.idMaps,
      register: pid,
    });
    launcher.add({
      op: 'receive',
      what: 'get the id maps of the user namespace written',
      tag: TAG.idMaps,
      hint: 'newuidmap and newgidmap must be installed, and /etc/subuid and /etc/subgid must grant the ids.',
    });
  } else {
    writeIdMaps(
      launcher,
      spec.linux?.uidMappings ?? [],
      spec.linux?.gidMappings ?? [],
      pid,
      context.host.rootless,
    );
  }
  launcher.add({ op: 'send', what: 'let the container go on', tag: PEER.mapped, peer, register: pid });
}

/** Writes the maps of a process's user namespace through /proc. */
export function writeIdMaps(
  launcher: ProgramBuilder,
  uids: readonly OciIdMapping[],
  gids: readonly OciIdMapping[],
  pid: Register,
  denySetgroups: boolean,
): void {
  const folder = { bytes: new Uint8Array(12), text: `<${pid}>` };
  launcher.add({
    op: 'decimal',
    what: 'write a pid',
    from: pid,
    into: folder,
    at: 0,
    width: 11,
    align: 'left',
  });
  launcher.openAt2(
    `open /proc/<${pid}>`,
    register('proc'),
    folder,
    ['PATH', 'DIRECTORY'],
    ['BENEATH', 'NO_XDEV'],
    {
      result: 'process',
    },
  );
  const hint =
    'Each range must be one that the caller may use: root any, others those of /etc/subuid and /etc/subgid. All lines of a map together have less than 4,096 characters.';
  if (denySetgroups)
    launcher.writeFile('deny setgroups in the user namespace', 'process', 'setgroups', 'deny');
  launcher.writeFile('map the user ids of the user namespace', 'process', 'uid_map', idMap(uids), { hint });
  launcher.writeFile('map the group ids of the user namespace', 'process', 'gid_map', idMap(gids), { hint });
  launcher.close('process');
}

/** The text for timens_offsets; undefined where nothing is asked for. */
export function timeOffsets(spec: OciSpec): string | undefined {
  const offsets = spec.linux?.timeOffsets;
  if (offsets === undefined) return undefined;
  const line = (clock: 'monotonic' | 'boottime') => {
    const offset = offsets[clock];
    return offset === undefined ? '' : `${clock} ${offset.secs ?? 0n} ${offset.nanosecs ?? 0}\n`;
  };
  return line('monotonic') + line('boottime');
}

/** A time namespace whose clocks are set: they can be until the first process is born into it, so it is unshared before the clone. */
export function makeTimeNamespace(program: ProgramBuilder, offsets: string): void {
  const { flag, flagName } = NAMESPACES.time;
  program.call('make a time namespace', 'unshare', [named(flag, flagName)]);
  program.writeFile("set the time namespace's clocks", 'proc', 'self/timens_offsets', offsets, {
    hint: 'linux.timeOffsets must not take a clock below zero.',
  });
}

/** Becomes root of the user namespace, so that what is made belongs to an id that it has. */
export function becomeRoot(program: ProgramBuilder, denied: boolean): void {
  const hint = 'linux.uidMappings and linux.gidMappings must map the container id 0.';
  if (!denied) program.call('drop the groups of the caller', 'setgroups', [0, named(0, 'NULL')], { hint });
  program.call('become group 0 of the user namespace', 'setresgid', [0, 0, 0], { hint });
  program.call('become user 0 of the user namespace', 'setresuid', [0, 0, 0], { hint });
}

/** Makes what clone3 has not: after the process has joined its cgroups and become root of its user namespace. */
export function makeOwnNamespaces(program: ProgramBuilder, plan: NamespacePlan): void {
  const types = madeByInit(plan);
  if (types.length === 0) return;
  const kinds = types.map((type) => NAMESPACES[type]);
  const flags = kinds.reduce((sum, { flag }) => sum + flag, 0);
  program.call(`make the namespace${types.length > 1 ? 's' : ''} ${types.join(' and ')}`, 'unshare', [
    named(flags, kinds.map(({ flagName }) => flagName).join('|')),
  ]);
}

/** Names of a new uts namespace. */
export function setNames(program: ProgramBuilder, spec: OciSpec): void {
  const set = (call: 'sethostname' | 'setdomainname', name: string | undefined) => {
    if (name !== undefined) program.call(`set the name ${name}`, call, [data(name), Buffer.byteLength(name)]);
  };
  set('sethostname', spec.hostname);
  set('setdomainname', spec.domainname);
}
