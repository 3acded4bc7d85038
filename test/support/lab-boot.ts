/**
 * `tvmm boot --accel kvm` inside a lab, on the real kvm_amd: its three streams go through files on the exchange share, so that they are compared
 * byte for byte.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Guest } from '../../src/guest/image.js';
import type { SharedLab } from './lab.js';
import { CLI } from './tvmm.js';

/** What became of a boot in the lab. */
export interface LabBoot {
  status: number;
  stdout: Buffer;
  stderr: string;
  /** What the lab's commands around it printed. */
  said: string;
}

export interface LabBootOptions {
  stdin?: Uint8Array;
  /** Shell commands in the lab, before and after the boot. */
  before?: string;
  after?: string;
}

/** No boot takes so long, not on a crowded machine either. */
const LIMIT_MS = 200_000;

/** Boots with `args`, to its end. */
export async function bootInLab(
  lab: SharedLab,
  args: readonly string[],
  { stdin = new Uint8Array(), before = '', after = '' }: LabBootOptions = {},
): Promise<LabBoot> {
  const folder = mkdtempSync(join(lab.exchange, 'boot-'));
  try {
    writeFileSync(join(folder, 'stdin'), stdin);
    const script = `set -e
      streams=$1; shift
      ${before}
      status=0
      "$@" <"$streams/stdin" >"$streams/stdout" 2>"$streams/stderr" || status=$?
      echo "$status" >"$streams/status"
      set +e
      ${after}
      true`;
    const tvmm = [process.execPath, CLI, 'boot', '--accel', 'kvm', '--timeout', '150', ...args];
    const streams = join(lab.exchangeInLab, basename(folder));
    const result = await lab.exec(['sh', '-c', script, 'sh', streams, ...tvmm], { timeoutMs: LIMIT_MS });
    if (result.status !== 0) throw new Error(`the lab's script failed: ${result.stdout}${result.stderr}`);
    return {
      status: Number(readFileSync(join(folder, 'status'), 'utf8')),
      stdout: readFileSync(join(folder, 'stdout')),
      stderr: readFileSync(join(folder, 'stderr'), 'utf8'),
      said: result.stdout,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The default guest named part by part: the lab builds nothing. */
export function defaultGuest(guest: Guest, kernel = guest.kernel): string[] {
  const root = ['--rootfs', `${guest.rootfs},ro`, '--cmdline', 'rootfstype=ext4 tvmm.overlay'];
  return ['--kernel', kernel, '--initrd', guest.initrd, ...root];
}
