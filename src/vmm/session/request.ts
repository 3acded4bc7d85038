/** What `tvmm boot` is asked for, after its command line was understood. Plain data; sizes in bytes, times in milliseconds. */
import type { FlatConfig } from '../config.js';

/** A disk of the command line: `F[,ro][,id=NAME]`. */
export interface DriveArgument {
  path: string;
  readOnly: boolean;
  id?: string;
}

/** A part of the guest: a path, `none`, or the default guest's own. */
export type Part = { kind: 'default' } | { kind: 'none' } | { kind: 'file'; path: string };

export interface BootRequest {
  kernel: Part;
  initrd: Part;
  rootfs: { kind: 'default' } | { kind: 'none' } | ({ kind: 'drive' } & DriveArgument);
  drives: DriveArgument[];
  cmdline: string;
  cpus: number;
  memory: number;
  hugePages: 'none' | 'transparent' | 'hugetlb';
  cpuMask: string[];
  transport: 'pci' | 'mmio';
  protocol: 'auto' | 'pvh' | 'linux64';
  flat?: FlatConfig;
  run?: string;
  timeoutMs?: number;
  json: boolean;
  timings: boolean;
}
