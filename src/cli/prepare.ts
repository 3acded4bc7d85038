/**
 * `dist/prepare.js [--lab]`, run by the setup: fetches and makes what a first boot would otherwise wait for. The lab's kernel too where
 * this host's boots will go through the lab, or with `--lab`. Prints `made` when anything was missing.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { showProgress } from '../guest/progress.js';
import { Kvm } from '../kvm/kvm.js';
import { codeCacheFile, WRITE_CODE_CACHE } from '../sys/code-cache.js';
import { packageRoot } from '../sys/package-root.js';
import { kvmUsability } from '../vmm/accel.js';
import { failureText } from './report.js';

/** Everything that is to be in the cache; each is quick when it is there already. */
async function prepare(lab: boolean): Promise<boolean> {
  using display = showProgress(process.stderr, 'setup');
  let made = false;
  const report = (message: string) => {
    made = true;
    display.report(message);
  };
  const { ensureGuest } = await import('../guest/image.js');
  await ensureGuest(report);
  if (lab) {
    const { ensureKernel } = await import('../guest/kernels.js');
    const { ensureInitramfs } = await import('../lab/initramfs.js');
    await ensureInitramfs(await ensureKernel('full', report));
  }
  await recordCodeCache();
  return made;
}

/**
 * Boots once for a moment, so that V8's code cache for the boot path is there (src/sys/code-cache.ts). How far the guest gets does not
 * matter, nor whether it can run at all: without the cache tvmm only starts a little later.
 */
async function recordCodeCache(): Promise<void> {
  const cli = join(packageRoot(), 'dist', 'cli.cjs');
  if (existsSync(codeCacheFile(join(packageRoot(), 'dist', 'io-thread.cjs'))) || !Kvm.exists()) return;
  const child = spawn(process.execPath, [cli, 'boot', '--accel', 'kvm', '--run', 'true', '--timeout', '3'], {
    stdio: 'ignore',
    env: { ...process.env, [WRITE_CODE_CACHE]: '1' },
  });
  await once(child, 'exit');
}

try {
  const made = await prepare(process.argv.includes('--lab') || !kvmUsability().usable);
  if (made) process.stdout.write('made\n');
} catch (error) {
  process.stderr.write(failureText(error, false).replace(/^tvmm: /, 'setup: '));
  process.exitCode = 1;
}
