/**
 * Makes a container's cgroup, with all its limits, before any process is in it. Either all of it stands at the end or nothing of it:
 * folders that this call made are removed on failure, others are left.
 */
import { applyResources, requiredV2 } from './apply.js';
import { Cgroup } from './cgroup.js';
import { CgroupCreateError, CgroupDevicesError, errnoOf } from './errors.js';
import type { CgroupLayout } from './layout.js';
import { enableControllers, makeFolders, readyForProcesses, unmake } from './make.js';
import type { PathRequest } from './path.js';
import type { OciDeviceRule, OciResources } from './resources.js';
import { type CgroupFolder, type CgroupState, hierarchies, planCgroup, systemdRuns } from './state.js';

export interface CreateOptions extends PathRequest {
  /** `linux.resources`. `devices` is taken as it is: see containerDeviceRules. */
  readonly resources?: OciResources;
  /**
   * Where the caller has planned it already (to save the plan before anything is made): `planCgroup` with the same id, path and manager.
   */
  readonly plan?: CgroupState;
  /** Refuse a cgroup that holds processes or is frozen (default). False joins whatever is there. */
  readonly exclusive?: boolean;
}

/**
 * Makes the folders, has controllers handed down, sets the limits.
 *
 * Rootless without a `cgroupsPath`: hierarchies that give no permission are left out, and only limits that need them are refused.
 *
 * @throws CgroupPathError, CgroupCreateError, CgroupLimitError, CgroupDevicesError
 */
export function createCgroup(layout: CgroupLayout, options: CreateOptions): Cgroup {
  const { resources = {}, exclusive = true, rootless = false, cgroupsPath = '' } = options;
  const plan = options.plan ?? planCgroup({ layout, ...options });
  const tolerant = rootless && cgroupsPath === '';
  let made: readonly string[] = [];
  try {
    const result = makeFolders(plan, tolerant);
    made = result.made;
    const state = withoutDenied({ ...plan, made }, result.denied);
    const cgroup = new Cgroup(state);
    if (exclusive && hierarchies(state).some(({ folder }) => !made.includes(folder))) cgroup.refuseInUse();
    if (state.v2 !== undefined) {
      const required = requiredV2(resources, state.v1);
      // In a hybrid layout nothing is handed down unless it is asked for: v1 has the usual controllers.
      if (required.length > 0 || Object.keys(state.v1).length === 0) enableControllers(state.v2, required);
      readyForProcesses(state.v2, required);
    }
    const { devices, ...limits } = resources;
    applyResources(state, limits);
    if (devices !== undefined) guardDevices(state, devices, rootless);
    return cgroup;
  } catch (error) {
    unmake(made);
    throw withSystemd(error, options);
  }
}

/** Rootless containers cannot use the machine's devices anyway, so that a guard that cannot be had is not missed. */
function guardDevices(state: CgroupState, devices: readonly OciDeviceRule[], rootless: boolean): void {
  const { v1, v2 } = state;
  if (rootless && v1.devices === undefined && v2 === undefined) return;
  try {
    applyResources(state, { devices });
  } catch (error) {
    const errno = error instanceof CgroupDevicesError ? errnoOf(error.cause) : '';
    if (!rootless || !['EPERM', 'EACCES'].includes(errno)) throw error;
  }
}

function withoutDenied(plan: CgroupState, denied: ReadonlyMap<string, string>): CgroupState {
  const may = ({ folder }: CgroupFolder) => !denied.has(folder);
  const v1 = Object.fromEntries(Object.entries(plan.v1).filter(([, place]) => may(place)));
  return {
    v1,
    ...(plan.v2 !== undefined && may(plan.v2) ? { v2: plan.v2 } : {}),
    made: plan.made,
  };
}

/** Who asked for systemd's notation on a machine where systemd runs may wonder why systemd knows nothing of the scope. */
function withSystemd(error: unknown, { manager, cgroupsPath = '' }: CreateOptions): unknown {
  const systemd = manager === 'systemd' || (manager !== 'cgroupfs' && cgroupsPath.includes('.slice:'));
  if (!systemd || !systemdRuns() || !(error instanceof CgroupCreateError)) return error;
  return new CgroupCreateError(error.message, {
    hint: `${error.hint ?? ''} tvmm makes systemd scopes itself, without asking systemd over D-Bus: the slice must be writable.`.trim(),
    cause: error,
  });
}
