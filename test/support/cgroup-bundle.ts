/** The scenario of cgroup-scenario.ts as one file, for processes that are not tests: in the lab, without root, in another mount namespace. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';

export interface Bundle extends Disposable {
  /** Environment that it needs. */
  readonly env: Readonly<Record<string, string>>;
  readonly path: string;
}

/** @param folder where to put it; default: a temporary folder, removed on disposal */
export async function bundleScenario(folder?: string): Promise<Bundle> {
  const place = folder ?? mkdtempSync(join(tmpdir(), 'tvmm-cgroup-'));
  const path = join(place, 'cgroup-scenario.cjs');
  const root = join(import.meta.dirname, '../..');
  await build({
    entryPoints: [join(import.meta.dirname, 'cgroup-scenario.ts')],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    outfile: path,
    external: ['koffi'],
    logLevel: 'warning',
  });
  return {
    path,
    env: { CGROUP_SCENARIO: '1', NODE_PATH: join(root, 'node_modules') },
    [Symbol.dispose]() {
      rmSync(folder === undefined ? place : path, { recursive: true, force: true });
    },
  };
}
