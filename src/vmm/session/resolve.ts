/**
 * From a request to a machine: fills in the default guest where the user named no part of their own, and its command line.
 * Builds the default guest only when some part of it is used.
 */

import { mergeCmdline } from '../../boot/cmdline.js';
import type { Guest } from '../../guest/image.js';
import type { Blob, DriveConfig, MachineConfig } from '../config.js';
import type { BootRequest } from './request.js';

/** The command-line word of the default root image: read-only below a tmpfs, with a session that ends the machine. */
export const DEFAULT_ROOT_WORD = 'tvmm.overlay';

/** Gives the default guest, building it if need be. */
export type GuestSource = () => Promise<Guest>;

/** The files of a machine, before they are opened. */
export interface GuestFiles {
  kernel: string;
  initrd: string | undefined;
  /** First drive; the guest's /dev/vda. */
  rootfs: DriveConfig | undefined;
  cmdline: string;
}

/** Which files the request comes to. */
export async function resolveFiles(request: BootRequest, guest: GuestSource): Promise<GuestFiles> {
  const flat = request.flat !== undefined;
  const usesDefault = (part: { kind: string }) => part.kind === 'default' && !flat;
  const parts = [request.kernel, request.initrd, request.rootfs];
  const found = parts.some(usesDefault) ? await guest() : undefined;
  const kernel = request.kernel.kind === 'file' ? request.kernel.path : (found?.kernel ?? '');
  const initrd =
    request.initrd.kind === 'file'
      ? request.initrd.path
      : usesDefault(request.initrd)
        ? found?.initrd
        : undefined;
  const { rootfs } = request;
  if (rootfs.kind === 'drive') {
    const drive = { path: rootfs.path, readOnly: rootfs.readOnly, id: rootfs.id ?? 'rootfs' };
    const root = ['root=/dev/vda', rootfs.readOnly ? 'ro' : 'rw'];
    return { kernel, initrd, rootfs: drive, cmdline: mergeCmdline(['quiet', ...root], request.cmdline) };
  }
  if (usesDefault(rootfs) && found !== undefined) {
    const drive = { path: found.rootfs, readOnly: true, id: 'rootfs' };
    const defaults = ['quiet', 'root=/dev/vda', 'rootfstype=ext4', 'ro', DEFAULT_ROOT_WORD];
    return { kernel, initrd, rootfs: drive, cmdline: mergeCmdline(defaults, request.cmdline) };
  }
  return {
    kernel,
    initrd,
    rootfs: undefined,
    cmdline: flat ? request.cmdline : mergeCmdline(['quiet'], request.cmdline),
  };
}

/** The machine that the request and its files describe. @param extraInitrd archives behind the initrd */
export function machineConfig(
  request: BootRequest,
  files: GuestFiles,
  extraInitrd: readonly Blob[] = [],
): MachineConfig {
  const drives: DriveConfig[] = files.rootfs === undefined ? [] : [files.rootfs];
  return {
    kernel: files.kernel,
    initrd: files.initrd === undefined ? extraInitrd : [files.initrd, ...extraInitrd],
    cmdline: files.cmdline,
    protocol: request.protocol,
    flat: request.flat,
    cpus: request.cpus,
    memory: request.memory,
    hugePages: request.hugePages,
    cpuMask: request.cpuMask,
    drives: [...drives, ...request.drives],
    transport: request.transport,
  };
}
