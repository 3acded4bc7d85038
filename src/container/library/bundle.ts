/** OCI bundles without running them: their launch plan, to be looked at, compared or taught from, and how strong their walls are. */
import { assess } from '../assess/assess.js';
import { readAssessFacts } from '../assess/facts.js';
import type { Assessment } from '../assess/types.js';
import type { Plan } from '../plan/plan.js';
import { readSpec } from '../runtime/bundle.js';
import { previewPlan } from '../runtime/preview.js';

export interface PlanOptions {
  /** The id that the container would have. */
  readonly id?: string;
  /** Read cgroupsPath in systemd's notation. */
  readonly systemdCgroup?: boolean;
  readonly warn?: (message: string) => void;
}

/**
 * What `create` would execute for a bundle on this machine; nothing is made or changed.
 *
 * @param folder with a config.json
 * @throws BundleError, SpecError, CompileError, SeccompProfileError
 */
export function planBundle(folder: string, options: PlanOptions = {}): Plan {
  const { id = 'container', systemdCgroup = false, warn = () => {} } = options;
  const environment = {
    root: '/run/tvmm-oci',
    cgroupManager: systemdCgroup ? ('systemd' as const) : ('cgroupfs' as const),
    rootless: process.geteuid?.() !== 0,
    log: { debug: () => {}, warn },
  };
  return previewPlan(environment, id, folder);
}

/** @param folder with a config.json @throws BundleError, SpecError */
export function assessBundle(folder: string): Assessment {
  return assess(readSpec(folder).spec, readAssessFacts());
}
