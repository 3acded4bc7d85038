/** What the plan's compiler is told besides config.json when a container is created. */
import { statSync } from 'node:fs';
import type { Cgroup } from '../cgroup/cgroup.js';
import type { CgroupLayout } from '../cgroup/layout.js';
import { ancestry, hierarchies } from '../cgroup/state.js';
import type { ConsoleSocket, CreateContext } from '../compile/context.js';
import type { Removal } from '../compile/removal.js';
import { cachedSeccomp } from '../seccomp/cache.js';
import { NAMESPACES, type NamespaceType } from '../spec/namespaces.js';
import type { OciSpec } from '../spec/types.js';
import type { Bundle } from './bundle.js';
import type { RuntimeEnvironment } from './environment.js';
import { homeOf } from './home.js';
import { cgroupContext, hostFacts, kernelViews } from './host.js';
import type { PrepareOptions } from './prepare.js';
import type { ResctrlState } from './resctrl.js';
import type { ContainerFolder } from './store.js';

/** What is to be made. */
export interface Wanted {
  readonly environment: RuntimeEnvironment;
  readonly folder: ContainerFolder;
  readonly bundle: Bundle;
  readonly options: PrepareOptions;
  readonly console?: ConsoleSocket;
  readonly resctrl?: ResctrlState;
  /** As CreateContext has them. */
  readonly cgroupLater?: boolean;
  readonly networkMade?: boolean;
}

/** @param layout as it is for the caller, whose cgroups the container may see */
export function contextOf(wanted: Wanted, cgroup: Cgroup, layout: CgroupLayout): CreateContext {
  const { folder, bundle, options, console, resctrl, cgroupLater, networkMade } = wanted;
  const { log, caller } = wanted.environment;
  const { preserveFds = 0, environment } = options;
  const { spec, rootfs, path } = bundle;
  const home = homeOf(rootfs, spec.process);
  const seccomp = spec.linux?.seccomp;
  const context = cgroupContext(cgroup, layout);
  const hostNamespaces = spec.linux?.sysctl === undefined ? [] : joinedOwn(spec, caller);
  const removal = removalOf(wanted, cgroup);
  return {
    id: folder.id,
    host: hostFacts(),
    bundle: path,
    scratch: folder.path,
    control: 3 + preserveFds,
    preserveFds,
    newKeyring: options.noNewKeyring !== true,
    ...(options.noPivot === true ? { noPivot: true, kernelViews: kernelViews(rootfs) } : {}),
    supervise: options.supervise === true,
    cgroupLater: cgroupLater === true,
    networkMade: networkMade === true,
    warn: (message) => log.warn(message),
    ...(options.waitForStart ? { execFifo: folder.fifoPath } : {}),
    ...(console === undefined ? {} : { console }),
    ...(context === undefined ? {} : { cgroup: context }),
    ...(hostNamespaces.length === 0 ? {} : { hostNamespaces }),
    ...(resctrl === undefined ? {} : { resctrlTasks: resctrl.tasks }),
    ...(seccomp === undefined ? {} : { seccomp: cachedSeccomp(seccomp, '/linux/seccomp') }),
    ...(home === undefined ? {} : { home }),
    ...(environment === undefined ? {} : { environment }),
    ...(removal === undefined ? {} : { removal }),
  };
}

/** Namespaces that are joined by a path and are the caller's: docker names the host's network so. A path that does not work is told of later. */
function joinedOwn({ linux }: OciSpec, caller: number | undefined): NamespaceType[] {
  const identity = (path: string) => {
    try {
      const { dev, ino } = statSync(path);
      return `${dev} ${ino}`;
    } catch {
      return undefined;
    }
  };
  return (linux?.namespaces ?? []).flatMap(({ type, path }) => {
    if (path === undefined) return [];
    const own = identity(`/proc/${caller ?? 'self'}/ns/${NAMESPACES[type].file}`);
    return own !== undefined && own === identity(path) ? [type] : [];
  });
}

/** What the launcher is to remove; undefined where hooks follow, or it cannot. */
function removalOf(
  { environment, folder, bundle: { spec }, options, resctrl }: Wanted,
  { state }: Cgroup,
): Removal | undefined {
  const { hooks, linux } = spec;
  if (options.removal !== true || environment.rootless || resctrl !== undefined) return undefined;
  if ((hooks?.poststart ?? []).length > 0 || (hooks?.poststop ?? []).length > 0) return undefined;
  // It is in these itself then.
  const elsewhere = ({ type, path }: { type: string; path?: string }) =>
    path !== undefined && (type === 'mount' || type === 'user');
  if (linux?.namespaces?.some(elsewhere) === true) return undefined;
  const cgroups = hierarchies(state).map((place) => ({
    folder: place.folder,
    parents: ancestry(place).slice(0, -1).reverse(),
  }));
  return { folder: folder.path, cgroups };
}
