/**
 * What an engine in a user namespace lacks (src/container/rootless made it, or a container's root did): cgroups that are not delegated, ids
 * beyond its map, networks of the host. Looked up once for a process.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { findDelegation } from '../cgroup/delegation.js';
import { readLayout } from '../cgroup/layout.js';
import { findUserTools, type UserTool } from './user-tools.js';

export interface RootlessFacts {
  /** The subtree of cgroup v2 that is delegated, as a path below its mount, and what it can limit. */
  readonly cgroup?: { readonly path: string; readonly controllers: readonly string[] };
  /** Ids from 0 on that the namespace has. */
  readonly ids: number;
  /** Programs that give containers a network, the best first. */
  readonly networks: readonly UserTool[];
}

const WHOLE_RANGE = /^\s*0\s+0\s+4294967295\s*$/;

/** How many ids there are from 0 on without a gap: a uid_map is not sorted. */
export function mappedIds(map: string): number {
  const ranges = map
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .sort(([a = 0], [b = 0]) => a - b);
  let next = 0;
  for (const [first = 0, , count = 0] of ranges) {
    if (first !== next) break;
    next += count;
  }
  return next;
}

function readMap(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // A kernel without user namespaces.
    return '0 0 4294967295';
  }
}

let cached: { readonly facts: RootlessFacts | undefined } | undefined;

/** Undefined for root of the machine. */
export function rootlessFacts(): RootlessFacts | undefined {
  cached ??= { facts: examine() };
  return cached.facts;
}

function examine(): RootlessFacts | undefined {
  const uids = readMap('/proc/self/uid_map');
  if (WHOLE_RANGE.test(uids)) return undefined;
  const cgroup = delegated();
  return {
    ids: Math.min(mappedIds(uids), mappedIds(readMap('/proc/self/gid_map'))),
    networks: findUserTools(),
    ...(cgroup === undefined ? {} : { cgroup }),
  };
}

function delegated(): RootlessFacts['cgroup'] {
  try {
    const layout = readLayout();
    const found = findDelegation(layout);
    // Beside v1 nothing but a name is delegated: the controllers are there.
    if (found === undefined || layout.v2 === undefined || layout.version !== 'v2') return undefined;
    return {
      path: posix.join('/', posix.relative(layout.v2.mountPoint, found.folder)),
      controllers: found.controllers,
    };
  } catch {
    return undefined;
  }
}

/** Tells a user once, until the next boot, what containers do without. @param run the engine's folder that a boot clears */
export function noteMissing(run: string, report: ((message: string) => void) | undefined): void {
  const facts = rootlessFacts();
  if (facts === undefined || report === undefined) return;
  const missing = [
    ...(facts.cgroup === undefined
      ? ['no cgroup is delegated to this user, so that containers have no limits']
      : []),
    ...(facts.networks.length === 0
      ? ['neither pasta nor slirp4netns is installed, so that they have no network']
      : []),
  ];
  if (missing.length === 0) return;
  try {
    mkdirSync(run, { recursive: true, mode: 0o700 });
    writeFileSync(join(run, 'noted'), '', { flag: 'wx', mode: 0o600 });
  } catch {
    return;
  }
  report(`tvmm: without root: ${missing.join('; ')} (tvmm doctor tells more)`);
}
