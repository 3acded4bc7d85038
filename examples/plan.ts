/**
 * What has to happen before a program runs in a container: the launch plan of a configuration, with the reason of each system call.
 * Makes nothing, needs no privileges.
 *
 *     npm run build && node dist/examples/plan.js
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assessBundle, planBundle, printStep } from 'tvmm/container';

/** The smallest container that deserves the name: processes, mounts and host name of its own, and a root that it cannot leave. */
const config = {
  ociVersion: '1.2.0',
  root: { path: 'rootfs', readonly: true },
  process: { args: ['/bin/true'], cwd: '/', user: { uid: 1000, gid: 1000 }, noNewPrivileges: true },
  hostname: 'lesson',
  mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
  linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'uts' }] },
};

const bundle = mkdtempSync(join(tmpdir(), 'tvmm-lesson-'));
try {
  mkdirSync(join(bundle, 'rootfs'));
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));

  // Each program is one process: the launcher, and the container's first process that it clones.
  const plan = planBundle(bundle);
  for (const program of plan.programs) {
    console.log(`\n${program.name}`);
    for (const step of program.steps) {
      console.log(`  ${printStep(step)}`);
      if (step.op !== 'label') console.log(`      ${step.what}`);
    }
  }

  const { score, findings } = assessBundle(bundle);
  console.log(`\nisolation score ${score} of 100`);
  for (const { severity, title } of findings) console.log(`  ${severity}: ${title}`);
} finally {
  rmSync(bundle, { recursive: true });
}
