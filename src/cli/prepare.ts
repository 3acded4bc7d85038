/**
 * `dist/prepare.js [--lab]`, run by the setup: fetches and makes what a first boot would otherwise wait for. The lab's kernel too where
 * this host's boots will go through the lab, or with `--lab`. Prints `made` when anything was missing.
 */
import { showProgress } from '../guest/progress.js';
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
  return made;
}

try {
  const made = await prepare(process.argv.includes('--lab') || !kvmUsability().usable);
  if (made) process.stdout.write('made\n');
} catch (error) {
  process.stderr.write(failureText(error, false).replace(/^tvmm: /, 'setup: '));
  process.exitCode = 1;
}
