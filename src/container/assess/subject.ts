/**
 * A container's configuration as the checks ask about it: who its root is, which namespaces are its own, what it can get hold of. Reads
 * nothing but its arguments.
 */
import type { NamespaceType } from '../spec/namespaces.js';
import type { OciMount } from '../spec/types.js';
import type { AssessedSpec, AssessFacts } from './types.js';

/** `own`: new. `joined`: shared with another container. `host`: not separated at all. */
export type Separation = 'own' | 'joined' | 'host';

/** A path of the host inside the container. */
export interface HostMount {
  /** Without `.`, `..`, doubled and trailing slashes. */
  readonly source: string;
  readonly destination: string;
  readonly writable: boolean;
  /** Submounts come along. */
  readonly recursive: boolean;
  readonly options: readonly string[];
}

export interface Subject {
  readonly spec: AssessedSpec;
  readonly facts: AssessFacts;
  readonly namespaces: Readonly<Record<NamespaceType, Separation>>;
  /**
   * Ids in the container are not the host's: a user namespace that does not map the host's root, or a rootless engine. One that is joined
   * by path was made for another container and is taken to have its own.
   */
  readonly ownIds: boolean;
  /** A user namespace is there, but the host's root is mapped into it. */
  readonly mapsHostRoot: boolean;
  /** The process starts as user 0 of the container. */
  readonly root: boolean;
  /** User 0 of the container is, or can become, user 0 of the host. */
  readonly hostRoot: boolean;
  /** Capabilities that a process of the container has or can get by executing a file. */
  readonly capabilities: ReadonlySet<string>;
  readonly noNewPrivileges: boolean;
  readonly hostMounts: readonly HostMount[];
  /** Whether a path of /proc or /sys cannot be written. */
  isReadonly(path: string): boolean;
  isMasked(path: string): boolean;
}

/** A path in its shortest form; relative ones stay relative. */
export function normalize(path: string): string {
  const out: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..' && path.startsWith('/')) out.pop();
    else out.push(part);
  }
  return (path.startsWith('/') ? '/' : '') + out.join('/');
}

/** Whether `path` is `folder` or lies below it. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`);
}

function separation(spec: AssessedSpec, type: NamespaceType): Separation {
  const namespace = spec.linux?.namespaces?.find((entry) => entry.type === type);
  if (namespace === undefined) return 'host';
  if (namespace.path === undefined) return 'own';
  // The first process of the machine, or this engine's own, has the host's.
  return /^\/proc\/(1|self|thread-self)\//.test(normalize(namespace.path)) ? 'host' : 'joined';
}

/** Later options win, as mount(8) reads them. */
export function isReadonlyMount(mount: OciMount): boolean {
  let readonly = false;
  for (const option of mount.options ?? []) {
    if (option === 'ro' || option === 'rro') readonly = true;
    else if (option === 'rw' || option === 'rrw') readonly = false;
  }
  return readonly;
}

function hostMounts(mounts: readonly OciMount[]): HostMount[] {
  const found: HostMount[] = [];
  for (const mount of mounts) {
    const options = mount.options ?? [];
    const recursive = options.includes('rbind');
    const bind = mount.type === 'bind' || recursive || options.includes('bind');
    if (!bind || mount.source === undefined) continue;
    found.push({
      source: normalize(mount.source),
      destination: normalize(mount.destination),
      writable: !isReadonlyMount(mount),
      recursive,
      options,
    });
  }
  return found;
}

/** What a program can come to hold (capabilities(7)): without no_new_privs, executing a file may give all of the bounding set. */
function capabilities(spec: AssessedSpec): Set<string> {
  const sets = spec.process?.capabilities ?? {};
  const held = [...(sets.permitted ?? []), ...(sets.effective ?? []), ...(sets.ambient ?? [])];
  return new Set(spec.process?.noNewPrivileges === true ? held : [...held, ...(sets.bounding ?? [])]);
}

/** Prepares a configuration for the checks. */
export function subjectOf(spec: AssessedSpec, facts: AssessFacts): Subject {
  const mounts = spec.mounts ?? [];
  const namespaces: Record<NamespaceType, Separation> = {
    user: separation(spec, 'user'),
    cgroup: separation(spec, 'cgroup'),
    ipc: separation(spec, 'ipc'),
    uts: separation(spec, 'uts'),
    network: separation(spec, 'network'),
    pid: separation(spec, 'pid'),
    time: separation(spec, 'time'),
    mount: separation(spec, 'mount'),
  };
  const maps = (spec.linux?.uidMappings ?? []).some(({ hostID, size }) => hostID === 0 && size > 0);
  const inUserNamespace = namespaces.user !== 'host';
  const mapsHostRoot = inUserNamespace && maps && !facts.rootless;
  const ownIds = facts.rootless || (inUserNamespace && !maps);
  const root = (spec.process?.user.uid ?? 0) === 0;
  const noNewPrivileges = spec.process?.noNewPrivileges === true;
  const paths = (list: readonly string[] | undefined) => (list ?? []).map(normalize);
  const masked = paths(spec.linux?.maskedPaths);
  const readonly = [
    ...paths(spec.linux?.readonlyPaths),
    ...mounts.filter(isReadonlyMount).map((mount) => normalize(mount.destination)),
  ];
  return {
    spec,
    facts,
    namespaces,
    ownIds,
    mapsHostRoot,
    root,
    // A set-user-ID program makes a root of any user, where nothing forbids it.
    hostRoot: !ownIds && (root || !noNewPrivileges),
    capabilities: capabilities(spec),
    noNewPrivileges,
    hostMounts: hostMounts(mounts),
    isReadonly: (path) => [...readonly, ...masked].some((entry) => isWithin(path, entry)),
    isMasked: (path) => masked.some((entry) => isWithin(path, entry)),
  };
}
