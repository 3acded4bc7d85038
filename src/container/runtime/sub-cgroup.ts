/** `exec --cgroup`: existing cgroups below the container's own, for one v1 controller or more, or for cgroup v2. */
import { existsSync } from 'node:fs';
import { posix } from 'node:path';
import type { Cgroup } from '../cgroup/cgroup.js';
import type { CgroupFolder, CgroupState } from '../cgroup/state.js';
import { ExecError } from './errors.js';

/** @param wanted `path` for cgroup v2, `controller,controller:path` for v1 @throws ExecError */
export function subCgroup({ state }: Cgroup, wanted: readonly string[]): CgroupState {
  const v1: Record<string, CgroupFolder> = { ...state.v1 };
  let { v2 } = state;
  const seen = new Set<string>();
  for (const text of wanted) {
    const colon = text.indexOf(':');
    const controllers = colon < 0 ? [''] : text.slice(0, colon).split(',');
    const path = text.slice(colon + 1);
    if (colon < 0 && wanted.length > 1)
      throw new ExecError(`invalid --cgroup argument: ${text} (missing <controller>: prefix)`);
    for (const controller of controllers) {
      if (controller === '' && colon >= 0)
        throw new ExecError(`invalid --cgroup argument: ${text} (empty <controller> prefix)`);
      if (seen.has(controller))
        throw new ExecError(
          `invalid --cgroup argument(s): controller ${controller} specified multiple times`,
        );
      seen.add(controller);
      if (controller === '') v2 = below(v2, path, text);
      else v1[controller] = below(v1[controller], path, text);
    }
  }
  return { v1, ...(v2 === undefined ? {} : { v2 }), made: [] };
}

function below(base: CgroupFolder | undefined, path: string, text: string): CgroupFolder {
  if (base === undefined) throw new ExecError(`--cgroup ${text}: the container has no such cgroup`);
  // As if the container's cgroup were the root: no number of `..` leads out of it.
  const folder = posix.join(base.folder, posix.normalize(`/${path}`)).replace(/\/$/, '');
  if (!existsSync(folder)) throw new ExecError(`--cgroup ${text}: ${folder} does not exist`);
  return { folder, mountPoint: base.mountPoint };
}
