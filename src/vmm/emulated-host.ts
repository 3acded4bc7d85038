/**
 * A defect of emulated hosts that a machine with several vCPUs must be kept from.
 *
 * QEMU's TCG translates code without holding the page it reads until release 8.1 (accel/tcg/translate-all.c, tb_gen_code): a byte that another
 * processor rewrites meanwhile leaves a stale translation behind. Linux rewrites its own code whenever a static key changes, so that a
 * guest with vCPUs on two emulated processors stands still or triple-faults in one boot of some ten, under any VMM. Two threads on one emulated
 * processor never run at once: there all vCPUs of a machine share one.
 */
import { readFileSync } from 'node:fs';
import { parseCpuList } from '../sys/affinity.js';

/** The release of QEMU that translates under a lock. */
const SOUND_QEMU = [8, 1] as const;

/** What a host says of itself. */
export interface HostIdentity {
  /** /proc/cpuinfo, or its beginning. */
  readonly cpuinfo: string;
  /** /sys/class/dmi/id/product_version: QEMU's machine type, such as `pc-q35-7.2`. */
  readonly productVersion: string;
  /** /proc/self/status. */
  readonly status: string;
}

/** The host CPUs for the vCPU threads of a machine with several vCPUs: one on a host with the defect, all (undefined) on any other. */
export function soundAffinity({ cpuinfo, productVersion, status }: HostIdentity): number[] | undefined {
  // The brand string of TCG's own processor models (target/i386/cpu.c).
  if (!/^model name\s*:\s*QEMU TCG CPU/m.test(cpuinfo)) return undefined;
  const version = /-(\d+)\.(\d+)\s*$/.exec(productVersion);
  const [major, minor] = [Number(version?.[1] ?? 0), Number(version?.[2] ?? 0)];
  if (major > SOUND_QEMU[0] || (major === SOUND_QEMU[0] && minor >= SOUND_QEMU[1])) return undefined;
  const allowed = parseCpuList(/^Cpus_allowed_list:(.*)$/m.exec(status)?.[1] ?? '');
  return allowed.length > 1 ? allowed.slice(-1) : undefined;
}

/** {@link soundAffinity} of this host. */
export function hostAffinity(): number[] | undefined {
  return soundAffinity({
    cpuinfo: readOrEmpty('/proc/cpuinfo'),
    productVersion: readOrEmpty('/sys/class/dmi/id/product_version'),
    status: readOrEmpty('/proc/self/status'),
  });
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
