/**
 * How long a guest takes from the command to its init's first line: tvmm against Debian's QEMU, with the same unmodified kernel, initrd
 * and memory, in turns, in one lab (or on this machine, where its KVM runs stock kernels).
 *
 *     node dist/bench/boot.js [rounds]
 *
 * `boot` is the wall time from the command's start; `boot-guest` the guest's own: /proc/uptime when its init speaks, which counts from
 * the kernel's first instructions on (PVH: no firmware, nothing to decompress).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from 'tvmm';
import { CpioWriter } from '../src/guest/cpio.js';
import { ensureKernel } from '../src/guest/kernels.js';
import { showProgress } from '../src/guest/progress.js';
import { median, table } from './support/figures.js';
import { openBench } from './support/place.js';

const ROUNDS = Number(process.argv[2] ?? 5);
const GOAL = 1.0;
const MEMORY_MIB = 256;
const APPEND = 'console=ttyS0 quiet panic=-1 rdinit=/init';

/** One shell, one mount: what a guest needs to say when it is there. */
const INIT = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
read -r up idle </proc/uptime
echo "INIT $up"
/bin/busybox poweroff -f
`;

function initrd(): Buffer {
  const archive = new CpioWriter();
  for (const folder of ['bin', 'dev', 'proc']) archive.directory(folder);
  archive.file('bin/busybox', readFileSync('/bin/busybox'), 0o755);
  return archive.file('init', INIT, 0o755).finish();
}

function contestants(kernel: string, archive: string): Record<string, string[]> {
  const qemu = (machine: string) => [
    ...['qemu-system-x86_64', '-M', machine, '-accel', 'kvm', '-cpu', 'host', '-m', `${MEMORY_MIB}`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
    ...['-kernel', kernel, '-initrd', archive, '-append', APPEND],
  ];
  const tvmm = [process.execPath, join(packageRoot(), 'dist/cli.cjs'), 'boot', '--accel', 'kvm'];
  return {
    tvmm: [
      ...tvmm,
      ...['--memory', `${MEMORY_MIB}M`, '--kernel', kernel, '--initrd', archive, '--rootfs', 'none'],
      ...['--cmdline', APPEND],
    ],
    'qemu q35': qemu('q35'),
    // Its ACPI has no reset for a guest that panics or powers off; reboot=t ends it by a triple fault.
    'qemu microvm': qemu('microvm').map((arg) => (arg === APPEND ? `${APPEND} reboot=t` : arg)),
  };
}

async function main(): Promise<void> {
  using display = showProgress();
  const kernel = await ensureKernel('cloud', display.report);
  await using place = await openBench({ memoryMiB: 3072, timeoutMs: 150_000, progress: display.report });
  const archive = place.put('bench-initrd', initrd());
  const runs = contestants(kernel.vmlinux, archive);
  const wall: Record<string, number[]> = {};
  const guest: Record<string, number[]> = {};
  // The first round fills the caches, here and in every new place.
  let warm = false;
  for (let round = 0; round < ROUNDS; ) {
    const { restarts } = place;
    const times: [name: string, ms: number, up: number][] = [];
    for (const [name, command] of Object.entries(runs)) {
      const tool = join(packageRoot(), 'dist/firmware/first-line');
      const result = await place.run([tool, 'INIT', ...command]);
      const match = /^([\d.]+) INIT ([\d.]+)/m.exec(result.stdout);
      if (match === null) throw new Error(`${name} did not reach init: ${result.stdout}${result.stderr}`);
      const [ms, up] = [Number(match[1]), Number(match[2]) * 1000];
      const which = warm ? `round ${round + 1}/${ROUNDS}` : 'warm-up';
      display.report(`${which}, ${name}: ${ms.toFixed(0)} ms, guest ${up.toFixed(0)} ms`);
      times.push([name, ms, up]);
    }
    if (warm && place.restarts === restarts) {
      round++;
      for (const [name, ms, up] of times) {
        wall[name] = [...(wall[name] ?? []), ms];
        guest[name] = [...(guest[name] ?? []), up];
      }
    }
    warm = place.restarts === restarts;
  }
  display[Symbol.dispose]();
  const names = Object.keys(runs);
  table(
    ['', 'wall ms, median', 'min', 'guest ms, median', 'min'],
    names.map((name) => [
      name,
      ...[median(wall[name]), Math.min(...wall[name]), median(guest[name]), Math.min(...guest[name])].map(
        (ms) => ms.toFixed(0),
      ),
    ]),
  );
  for (const [figure, times] of [
    ['boot', wall],
    ['boot-guest', guest],
  ] as const) {
    const best = Math.min(...names.filter((name) => name !== 'tvmm').map((name) => median(times[name])));
    console.log(`${figure} ratio ${(median(times.tvmm) / best).toFixed(2)} goal ${GOAL.toFixed(2)}`);
  }
}

await main();
