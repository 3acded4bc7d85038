/**
 * `linux.sysctl` (config-linux.md, "Sysctl"; sysctl(8) for the names): only what belongs to a namespace of the container's own. Written through
 * the procfs that the launcher opened and checked on the host, never through the container's /proc (which kernel parameters are meant
 * is decided by the writer's namespaces, not by the procfs).
 */
import type { NamespaceType } from '../spec/namespaces.js';
import type { OciSpec } from '../spec/types.js';
import type { ProgramBuilder } from './builder.js';
import { CompileError } from './errors.js';

/** ipc_namespaces(7) */
const IPC: ReadonlySet<string> = new Set([
  'kernel/msgmax',
  'kernel/msgmnb',
  'kernel/msgmni',
  'kernel/sem',
  'kernel/shmall',
  'kernel/shmmax',
  'kernel/shmmni',
  'kernel/shm_rmid_forced',
]);

/** The path below /proc/sys: dots part names, unless a slash comes first, where the two change places (sysctl(8)). */
export function sysctlPath(name: string): string {
  const first = name.search(/[./]/);
  if (first >= 0 && name[first] === '/') return name;
  return name.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'));
}

function check(name: string, path: string, has: (type: NamespaceType) => boolean): string | undefined {
  if (path.startsWith('/') || path.split('/').some((part) => part === '' || part === '.' || part === '..'))
    return 'is not the name of a kernel parameter';
  const needs = (type: 'ipc' | 'network' | 'uts' | 'user') =>
    has(type)
      ? undefined
      : `belongs to the ${type} namespace, and the container has none of its own: it would change the host's`;
  if (IPC.has(path) || path.startsWith('fs/mqueue/')) return needs('ipc');
  if (path.startsWith('net/')) return needs('network');
  if (path === 'kernel/domainname') return needs('uts');
  if (path === 'kernel/hostname') return `is set by the member hostname of the configuration, not by ${name}`;
  if (path.startsWith('user/')) return needs('user');
  return "belongs to no namespace: it would change the host's";
}

/**
 * @param has whether the container has a namespace that is not the host's
 * @throws CompileError for parameters that are the host's
 */
export function writeSysctls(
  init: ProgramBuilder,
  spec: OciSpec,
  has: (type: NamespaceType) => boolean,
): void {
  for (const [name, value] of Object.entries(spec.linux?.sysctl ?? {})) {
    const path = sysctlPath(name);
    const problem =
      path === 'kernel/domainname' && spec.domainname !== undefined
        ? 'would change what the member domainname of the configuration sets'
        : check(name, path, has);
    if (problem !== undefined) throw new CompileError(`linux.sysctl[${JSON.stringify(name)}]`, problem);
    init.writeFile(`set the kernel parameter ${name} to ${value}`, 'proc', `sys/${path}`, value, {
      hint: 'The kernel must have the parameter and take the value.',
    });
  }
}
