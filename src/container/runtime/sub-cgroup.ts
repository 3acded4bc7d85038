/** `exec --cgroup`: existing cgroups below the container's own: for one v1 controller or more, or one path for all of them and cgroup v2. */
import { existsSync } from 'node:fs';
import { posix } from 'node:path';
import type { Cgroup } from '../cgroup/cgroup.js';
import type { CgroupFolder, CgroupState } from '../cgroup/state.js';
import { ExecError } from './errors.js';

/** @param wanted `path` for all, `controller,controller:path` for some of v1's @throws ExecError */
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
      if (controller === '') {
        for (const [name, base] of Object.entries(v1)) v1[name] = below(base, path, text, name);
        // Beside v1 it has no controllers: who makes cgroups for those need not make one there.
        if (Object.keys(v1).length === 0 || holds(v2, path)) v2 = below(v2, path, text);
      } else v1[controller] = below(v1[controller], path, text, controller);
    }
  }
  return { v1, ...(v2 === undefined ? {} : { v2 }), made: [] };
}

function holds(base: CgroupFolder | undefined, path: string): boolean {
  return base !== undefined && existsSync(posix.join(base.folder, path));
}

function below(
  base: CgroupFolder | undefined,
  path: string,
  text: string,
  controller = 'cgroup v2',
): CgroupFolder {
  if (base === undefined)
    throw new ExecError(
      `--cgroup ${text}: unknown controller ${controller}: the container has no such cgroup`,
    );
  const folder = posix.join(base.folder, path).replace(/\/$/, '');
  if (folder !== base.folder && !folder.startsWith(`${base.folder}/`))
    throw new ExecError(`--cgroup ${text}: bad sub cgroup path: ${path} is not a sub cgroup path`);
  if (!existsSync(folder))
    throw new ExecError(`--cgroup ${text}: adding pid to ${folder}: no such file or directory`);
  return { folder, mountPoint: base.mountPoint };
}
