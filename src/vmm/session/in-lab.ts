/**
 * `tvmm boot` where there is no usable KVM: the same boot inside the lab. Disks become virtio disks of the lab's machine, so that what the
 * guest writes reaches the image; everything else is read through the lab's view of this file system.
 */

import { join, resolve } from 'node:path';
import { runInLab } from '../../lab/run.js';
import { packageRoot } from '../../sys/package-root.js';
import type { DriveConfig } from '../config.js';
import type { BootRequest } from './request.js';
import type { GuestFiles } from './resolve.js';

/** What the lab's kernel, its root's overlay and Node need beside the guest's memory. */
const OVERHEAD_MIB = 1024;
const MIN_LAB_MIB = 2048;

/** What the tvmm in the lab needs to start and, at its own time limit, to end. */
const GRACE_MS = 60_000;

/** Boots in the lab; resolves to the exit status. @throws TvmmError */
export async function bootInLab(request: BootRequest, files: GuestFiles): Promise<number> {
  const drives: DriveConfig[] = [...(files.rootfs === undefined ? [] : [files.rootfs]), ...request.drives];
  const disks = drives.map((drive) => ({ path: resolve(drive.path), readOnly: drive.readOnly === true }));
  const inner = drives.map((drive, index) => labPath(drive, index));
  const rootfs = files.rootfs === undefined ? ['--rootfs', 'none'] : ['--rootfs', inner[0]];
  const others = inner.slice(files.rootfs === undefined ? 0 : 1).flatMap((text) => ['--drive', text]);
  const args = [
    ...['boot', '--accel', 'kvm', '--kernel', resolve(files.kernel)],
    ...['--initrd', files.initrd === undefined ? 'none' : resolve(files.initrd)],
    ...rootfs,
    ...others,
    ...['--cmdline', files.cmdline],
    ...['--cpus', `${request.cpus}`, '--memory', `${request.memory}`],
    ...['--transport', request.transport, '--protocol', request.protocol, '--huge-pages', request.hugePages],
    ...(request.cpuMask.length > 0 ? ['--cpu-mask', request.cpuMask.join(',')] : []),
    ...(request.flat === undefined ? [] : ['--flat', request.flat.mode]),
    ...(request.flat?.address === undefined ? [] : ['--flat-address', `${request.flat.address}`]),
    ...(request.run === undefined ? [] : ['--run', request.run]),
    ...(request.timeoutMs === undefined ? [] : ['--timeout', `${request.timeoutMs}ms`]),
    ...(request.json ? ['--json'] : []),
    ...(request.timings ? ['--timings'] : []),
  ];
  const tvmm = [process.execPath, join(packageRoot(), 'dist/cli.cjs'), ...args];
  // The lab's machine loads drivers on demand; disks are not there in every lab.
  const argv = disks.length === 0 ? tvmm : ['/bin/sh', '-c', 'modprobe virtio_blk; exec "$@"', 'sh', ...tvmm];
  const guestMiB = Math.ceil(request.memory / 2 ** 20);
  return await runInLab(argv, {
    disks,
    memoryMiB: Math.max(MIN_LAB_MIB, guestMiB + OVERHEAD_MIB),
    timeoutMs: request.timeoutMs === undefined ? undefined : request.timeoutMs + GRACE_MS,
  });
}

/** The disk as the tvmm in the lab names it. The lab's machine has no other disks, and they come up in order. */
function labPath(drive: DriveConfig, index: number): string {
  const letter = String.fromCharCode('a'.charCodeAt(0) + index);
  const id = drive.id === undefined ? '' : `,id=${drive.id}`;
  return `/dev/vd${letter}${drive.readOnly === true ? ',ro' : ''}${id}`;
}
