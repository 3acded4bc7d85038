/** What the plan's compiler has to know of this machine and this process; looked up once, since it does not change. */
import { readFileSync } from 'node:fs';
import type { Cgroup } from '../cgroup/cgroup.js';
import type { CgroupLayout } from '../cgroup/layout.js';
import type { CgroupContext, CgroupHierarchy, HostFacts } from '../compile/context.js';
import { readHostFacts } from '../compile/host-facts.js';

let cached: HostFacts | undefined;

export function hostFacts(): HostFacts {
  cached ??= readHostFacts();
  return cached;
}

/** Mounts of procfs and sysfs outside of a root, as proc_pid_mountinfo(5) lists them: later ones may stand upon earlier ones. */
export function kernelViews(rootfs: string): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines
    .flatMap((line) => {
      const [mount = '', filesystem = ''] = line.split(' - ');
      const path = mount
        .split(' ')[4]
        ?.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
      const wanted = path !== undefined && /^(?:proc|sysfs) /.test(filesystem);
      return wanted && !`${path}/`.startsWith(`${rootfs}/`) ? [path] : [];
    })
    .reverse();
}

/**
 * Where the container's processes go, and what it sees of it. Undefined for a container without a cgroup.
 *
 * @param layout needed for mounts of type cgroup alone
 */
export function cgroupContext(
  cgroup: Cgroup | undefined,
  layout: CgroupLayout | undefined,
): CgroupContext | undefined {
  if (cgroup === undefined || !cgroup.present) return undefined;
  return {
    tasks: cgroup.tasks,
    ...(cgroup.unified === undefined ? {} : { unified: cgroup.unified }),
    hierarchies: layout === undefined ? [] : hierarchiesOf(cgroup, layout),
  };
}

/** Each hierarchy once, named as it is mounted here. */
function hierarchiesOf(cgroup: Cgroup, layout: CgroupLayout): CgroupHierarchy[] {
  const byFolder = new Map<string, { name: string; options: string[]; folder: string }>();
  for (const [controller, { folder, mountPoint }] of Object.entries(cgroup.state.v1)) {
    const known = byFolder.get(folder);
    if (known !== undefined) known.options.push(controller);
    else byFolder.set(folder, { name: lastName(mountPoint), options: [controller], folder });
  }
  const all: CgroupHierarchy[] = [...byFolder.values()].map((one) => ({ type: 'cgroup', ...one }));
  const { v2 } = cgroup.state;
  if (v2 !== undefined && layout.version === 'v2')
    all.push({ type: 'cgroup2', name: '', options: [], folder: v2.folder });
  else if (v2 !== undefined)
    all.push({ type: 'cgroup2', name: lastName(v2.mountPoint), options: [], folder: v2.folder });
  return all;
}

function lastName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
