/**
 * One boot from request to exit status: checks the machine, decides where it runs, prints the report.
 */
import { FileSource } from '../../boot/source.js';
import { DiskImage } from '../../devices/virtio/disk-image.js';
import { ramLayout } from '../../memory/layout.js';
import { WRITE_CODE_CACHE } from '../../sys/code-cache.js';
import { TvmmError } from '../../sys/errors.js';
import { exitNow } from '../../sys/libc.js';
import { kvmUsability } from '../accel.js';
import { Timeline } from '../timeline.js';
import type { BootReport } from './native.js';
import type { BootRequest } from './request.js';
import { resolveFiles } from './resolve.js';

type Accel = 'auto' | 'kvm' | 'lab';

/** Boots; resolves to the exit status. With `json` a failure is reported on stdout, too. @throws TvmmError with one sentence for the user */
export async function bootCommand(request: BootRequest, accel: Accel): Promise<number> {
  try {
    return await boot(request, accel);
  } catch (error) {
    if (request.json && error instanceof TvmmError) {
      const { code, message, hint } = error;
      const report = { status: 125, end: 'failed', error: { code, message, hint } };
      process.stdout.write(`${JSON.stringify(report)}\n`);
    }
    throw error;
  }
}

async function boot(request: BootRequest, accel: Accel): Promise<number> {
  const timeline = new Timeline();
  timeline.mark('node and imports');
  // What is wrong in itself is said before anything is built or started.
  ramLayout(request.memory);
  checkNamedFiles(request);
  const files = await resolveFiles(request, async () => {
    const [{ ensureGuest }, { showProgress }] = await Promise.all([
      import('../../guest/image.js'),
      import('../../guest/progress.js'),
    ]);
    using display = showProgress();
    return await ensureGuest(display.report);
  });
  timeline.mark('default guest');
  const unusable = accel === 'auto' && request.flat === undefined ? whyUnusable() : undefined;
  if (accel === 'lab' || unusable !== undefined) {
    const { bootInLab } = await import('./in-lab.js');
    if (unusable !== undefined)
      process.stderr.write(`tvmm: ${unusable}; booting in the lab (emulated AMD-V, slower).\n`);
    return await bootInLab(request, files);
  }
  const { bootNative } = await import('./native.js');
  let status = 0;
  await bootNative(request, files, timeline, (report) => {
    print(request, report);
    status = report.status;
    // Taking down threads and guest memory is the kernel's work anyway, and it does it sooner.
    if (process.env[WRITE_CODE_CACHE] === undefined) exitNow(status);
  });
  return status;
}

/** Opens and closes what the user named: a misspelt path must not wait for the default guest to be built. */
function checkNamedFiles({ kernel, initrd, rootfs, drives }: BootRequest): void {
  if (kernel.kind === 'file') FileSource.open(kernel.path, 'kernel')[Symbol.dispose]();
  if (initrd.kind === 'file') FileSource.open(initrd.path, 'initrd')[Symbol.dispose]();
  for (const { path, readOnly } of [...(rootfs.kind === 'drive' ? [rootfs] : []), ...drives]) {
    DiskImage.open(path, { readOnly })[Symbol.dispose]();
  }
}

/** Why this machine's KVM cannot run a stock kernel, or undefined. */
function whyUnusable(): string | undefined {
  const { usable, reason } = kvmUsability();
  return usable ? undefined : reason;
}

function print(request: BootRequest, report: BootReport): void {
  if (request.json) process.stdout.write(`${JSON.stringify(report)}\n`);
  if (request.timings) {
    for (const { name, ms } of report.timings)
      process.stderr.write(`${ms.toFixed(1).padStart(9)} ms  ${name}\n`);
  }
}
