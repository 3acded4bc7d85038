/** The launch plan of a bundle without making anything: what `create` would execute, for people and tests. */
import { Cgroup } from '../cgroup/cgroup.js';
import { readLayout } from '../cgroup/layout.js';
import { planCgroup } from '../cgroup/state.js';
import { compileCreate } from '../compile/create.js';
import type { Plan } from '../plan/plan.js';
import { readBundle } from './bundle.js';
import { contextOf } from './create-context.js';
import type { RuntimeEnvironment } from './environment.js';
import { hostFacts } from './host.js';
import { planResctrl } from './resctrl.js';
import { ContainerFolder } from './store.js';

/**
 * @param id of the container that is not made
 * @param folder of the bundle
 * @throws BundleError, SpecError, CompileError, SeccompProfileError
 */
export function previewPlan(environment: RuntimeEnvironment, id: string, folder: string): Plan {
  const bundle = readBundle(folder);
  const { cgroupsPath } = bundle.spec.linux ?? {};
  const layout = readLayout();
  const cgroup = planCgroup({
    layout,
    id,
    ...(cgroupsPath === undefined ? {} : { cgroupsPath }),
    manager: environment.cgroupManager,
    rootless: environment.rootless,
  });
  const { intelRdt } = bundle.spec.linux ?? {};
  const { resctrl: mount } = hostFacts();
  const terminal = bundle.spec.process?.terminal === true;
  return compileCreate(
    bundle.spec,
    contextOf(
      {
        environment,
        folder: new ContainerFolder(environment.root, id),
        bundle,
        options: { bundle: folder, waitForStart: true },
        ...(intelRdt === undefined || mount === undefined
          ? {}
          : { resctrl: planResctrl(mount, id, intelRdt) }),
        ...(terminal ? { console: { path: '/console-socket' } } : {}),
      },
      new Cgroup(cgroup),
      layout,
    ),
  );
}
