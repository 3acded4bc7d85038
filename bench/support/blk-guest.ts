/**
 * The guest of bench/blk.ts: an initrd that loads the disk's drivers, says READY, and then runs firmware/blk-load.c with the words of each
 * line that it reads from its console, until one says `off`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from 'tvmm';
import { ensureBusybox } from '../../src/guest/busybox.js';
import { CpioWriter } from '../../src/guest/cpio.js';
import type { KernelFiles } from '../../src/guest/kernels.js';
import { readModule, resolveModules, withoutSignature } from '../../src/guest/modules.js';

export const MIB = 2 ** 20;

/** What the guest asks for. `depth` requests are always under way. */
export interface Load {
  readonly name: string;
  readonly words: string;
  readonly block: number;
  readonly depth: number;
  /** Counts for a figure; the others are shown only. */
  readonly figure: boolean;
}

export const LOADS: readonly Load[] = [
  { name: 'blk-randread-4k', words: 'read random', block: 4096, depth: 32, figure: true },
  { name: 'blk-randwrite-4k', words: 'write random', block: 4096, depth: 32, figure: true },
  { name: 'blk-seq-1m', words: 'read sequential', block: MIB, depth: 4, figure: true },
  { name: 'blk-randread-4k-depth-1', words: 'read random', block: 4096, depth: 1, figure: false },
];
/** A line that asks for a load of some seconds. */
export function loadLine({ name, words, block, depth }: Load, seconds: number): string {
  return `${name} ${words} ${block} ${depth} ${seconds}`;
}

function initScript(modules: readonly string[]): string {
  return [
    '#!/bin/busybox sh',
    '/bin/busybox mount -t devtmpfs devtmpfs /dev',
    ...modules.map((module) => `/bin/busybox insmod /${module}.ko`),
    'until [ -b /dev/vda ]; do /bin/busybox usleep 1000; done',
    'echo READY',
    'while read -r line; do',
    '  [ "$line" != off ] || /bin/busybox poweroff -f',
    '  /blk-load /dev/vda $line || echo FAILED',
    'done',
    '',
  ].join('\n');
}

/** The guest's initrd, for `kernel`. */
export async function blkInitrd(kernel: KernelFiles): Promise<Buffer> {
  const archive = new CpioWriter();
  for (const folder of ['bin', 'dev', 'proc']) archive.directory(folder);
  archive.device('dev/console', 'char', 5, 1);
  archive.file('bin/busybox', readFileSync(await ensureBusybox()), 0o755);
  archive.file('blk-load', readFileSync(join(packageRoot(), 'dist/firmware/blk-load')), 0o755);
  const modules = await resolveModules(kernel.modulesDir, ['virtio_pci', 'virtio_blk']);
  for (const module of modules)
    archive.file(`${module.name}.ko`, withoutSignature(await readModule(module)), 0o644);
  const names = modules.map(({ name }) => name);
  return archive.file('init', initScript(names), 0o755).finish();
}

/**
 * The referee, run as `sh -c DUEL sh FOLDER ROUNDS TVMM QEMU` with one load a line on its stdin: boots both guests, which then stay, and gives
 * them each load in turn. A guest that waits costs nothing, so the two loads of a pair are neighbours in time; who goes first changes.
 * Prints what the guests say, behind the round's number and the contestant's name. Round 0 only warms up.
 */
export const DUEL = `
folder=$1 rounds=$2
loads=$(cat)
mkfifo "$folder/tvmm.in" "$folder/tvmm.out" "$folder/qemu.in" "$folder/qemu.out" || exit 1
hear() {
  while read -r line <&$1; do
    case $line in *FAILED*) break ;; BLK*|READY*) echo "$round $2 $line"; return ;; esac
    said="$said$line
"
  done
  echo "the guest under $2 ended or failed: $said" >&2
  kill $tvmm $qemu 2>/dev/null
  exit 1
}
round=start
sh -c "exec $3" <"$folder/tvmm.in" >"$folder/tvmm.out" 2>&1 &
tvmm=$!
exec 3>"$folder/tvmm.in" 4<"$folder/tvmm.out"
hear 4 tvmm
sh -c "exec $4" <"$folder/qemu.in" >"$folder/qemu.out" 2>&1 3>&- 4>&- &
qemu=$!
exec 5>"$folder/qemu.in" 6<"$folder/qemu.out"
hear 6 qemu
round=0
while [ $round -le $rounds ]; do
  while read -r load; do
    [ $((round % 2)) = 0 ] || { echo "$load" >&5; hear 6 qemu; }
    echo "$load" >&3; hear 4 tvmm
    [ $((round % 2)) = 1 ] || { echo "$load" >&5; hear 6 qemu; }
  done <<END
$loads
END
  round=$((round + 1))
done
echo off >&3
echo off >&5
cat <&4 >/dev/null
cat <&6 >/dev/null
wait
`;
