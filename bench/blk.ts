/**
 * What a virtio disk gives a guest: tvmm against QEMU's q35 with virtio-blk, an iothread and io_uring, on the same image, kernel, initrd and
 * memory, in turns, in one lab (or on this machine, where its KVM runs stock kernels).
 *
 *     node dist/bench/blk.js [--rounds 3] [--seconds 4] [--store ext4|tmpfs]
 *
 * The guest is a kernel, the drivers and firmware/blk-load.c, which asks for direct I/O at a fixed depth for so many seconds of the guest's
 * clock. A figure is tvmm's rate over QEMU's: the median over the rounds of the quotient of two runs that were neighbours in time.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { kvmUsability, packageRoot } from 'tvmm';
import { ensureBusybox } from '../src/guest/busybox.js';
import { CpioWriter } from '../src/guest/cpio.js';
import { ensureKernel, type KernelFiles } from '../src/guest/kernels.js';
import { readModule, resolveModules, withoutSignature } from '../src/guest/modules.js';
import { showProgress } from '../src/guest/progress.js';
import { median, table } from './support/figures.js';
import { type BenchPlace, openBench } from './support/place.js';

const GOAL = 0.8;
const MEMORY_MIB = 256;
const IMAGE_MIB = 192;
const MIB = 2 ** 20;

/** What the guest asks for. `depth` requests are always under way; the first of all only warms up. */
interface Load {
  readonly name: string;
  readonly words: string;
  readonly block: number;
  readonly depth: number;
  /** Counts for a figure; the others are shown only. */
  readonly figure: boolean;
}

const LOADS: readonly Load[] = [
  { name: 'blk-randread-4k', words: 'read random', block: 4096, depth: 32, figure: true },
  { name: 'blk-randwrite-4k', words: 'write random', block: 4096, depth: 32, figure: true },
  { name: 'blk-seq-1m', words: 'read sequential', block: MIB, depth: 4, figure: true },
  { name: 'randread-4k, depth 1', words: 'read random', block: 4096, depth: 1, figure: false },
];
/** Compiled code of both contestants, and the emulator's own translations, are there when the first load begins. */
const WARM_UP = [LOADS[0], LOADS[1]];

function initScript(modules: readonly string[], seconds: number): string {
  const load = ({ name, words, block, depth }: Load, time: number) =>
    `/blk-load /dev/vda '${name}' ${words} ${block} ${depth} ${time}`;
  return [
    '#!/bin/busybox sh',
    '/bin/busybox mount -t devtmpfs devtmpfs /dev',
    ...modules.map((module) => `/bin/busybox insmod /${module}.ko`),
    'until [ -b /dev/vda ]; do /bin/busybox usleep 1000; done',
    ...WARM_UP.map((one) => `${load(one, seconds / 2)} >/dev/null`),
    ...LOADS.map((one) => load(one, seconds)),
    '/bin/busybox poweroff -f',
    '',
  ].join('\n');
}

async function initrd(kernel: KernelFiles, seconds: number): Promise<Buffer> {
  const archive = new CpioWriter();
  for (const folder of ['bin', 'dev', 'proc']) archive.directory(folder);
  archive.device('dev/console', 'char', 5, 1);
  archive.file('bin/busybox', readFileSync(await ensureBusybox()), 0o755);
  archive.file('blk-load', readFileSync(join(packageRoot(), 'dist/firmware/blk-load')), 0o755);
  const modules = await resolveModules(kernel.modulesDir, ['virtio_pci', 'virtio_blk']);
  for (const module of modules)
    archive.file(`${module.name}.ko`, withoutSignature(await readModule(module)), 0o644);
  const names = modules.map(({ name }) => name);
  return archive.file('init', initScript(names, seconds), 0o755).finish();
}

/** Run as `sh -c SCRIPT sh FOLDER`: the image, full of data so that no read meets a hole. */
const MAKE_IMAGE = `mkdir -p "$1" && dd if=/dev/zero of="$1/disk.img" bs=1M count=${IMAGE_MIB} conv=fsync status=none`;
/** A file system as a host would have it, on a disk that costs next to nothing: the page cache does the work, as it does on real ones. */
const MAKE_EXT4 = `modprobe loop && modprobe ext4 && mkdir -p "$1" && truncate -s ${IMAGE_MIB + 64}M /dev/shm/blk-store &&
mkfs.ext4 -q /dev/shm/blk-store && mount -o loop,noatime /dev/shm/blk-store "$1"`;

async function must(place: BenchPlace, argv: string[]): Promise<string> {
  const { status, stdout, stderr } = await place.run(argv);
  if (status !== 0) throw new Error(`${argv.slice(0, 2).join(' ')} failed (${status}): ${stderr}${stdout}`);
  return stdout;
}

/** Makes the image; returns its path. Without the lab there is no `ext4` of our own: it is `beside`, where temporary files are. */
async function makeImage(place: BenchPlace, store: string, beside: string): Promise<string> {
  const inLab = !kvmUsability().usable;
  const own = inLab ? '/tmp/blk' : join(beside, 'blk');
  const folder = store === 'tmpfs' && inLab ? '/dev/shm/blk' : own;
  if (store === 'ext4' && inLab) await must(place, ['sh', '-c', MAKE_EXT4, 'sh', folder]);
  await must(place, ['sh', '-c', MAKE_IMAGE, 'sh', folder]);
  return join(folder, 'disk.img');
}

function contestants(kernel: string, archive: string, image: string): Record<string, string[]> {
  const append = 'console=ttyS0 quiet panic=-1 rdinit=/init';
  return {
    tvmm: [
      ...[process.execPath, join(packageRoot(), 'dist/cli.js'), 'boot', '--accel', 'kvm'],
      ...['--memory', `${MEMORY_MIB}M`, '--kernel', kernel, '--initrd', archive, '--rootfs', 'none'],
      ...['--drive', image, '--cmdline', append],
    ],
    qemu: [
      ...['qemu-system-x86_64', '-M', 'q35', '-accel', 'kvm', '-cpu', 'host', '-m', `${MEMORY_MIB}`],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
      ...['-kernel', kernel, '-initrd', archive, '-append', append],
      ...['-drive', `if=none,id=d,file=${image},format=raw,aio=io_uring,cache=writeback`],
      ...['-object', 'iothread,id=io', '-device', 'virtio-blk-pci,drive=d,iothread=io'],
    ],
  };
}

/** Requests a second of each load, by its name. */
async function rates(place: BenchPlace, command: string[]): Promise<Map<string, number>> {
  const { stdout, stderr } = await place.run(command);
  const found = new Map<string, number>();
  for (const [, name, requests, nanoseconds] of stdout.matchAll(/^BLK (.+) (\d+) (\d+)\r?$/gm)) {
    found.set(name, (Number(requests) * 1e9) / Number(nanoseconds));
  }
  for (const { name } of LOADS) {
    if (!found.has(name))
      throw new Error(`${name} did not come to its end under ${command[0]}: ${stdout}${stderr}`);
  }
  return found;
}

function shown(load: Load, rate: number): string {
  return load.block === MIB ? `${rate.toFixed(0)} MiB/s` : `${rate.toFixed(0)} /s`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '4' },
      store: { type: 'string', default: 'ext4' },
    },
  });
  const rounds = Number(values.rounds);
  using display = showProgress();
  const kernel = await ensureKernel('cloud', display.report);
  await using place = await openBench({ memoryMiB: 3072, progress: display.report });
  const archive = place.put('blk-initrd', await initrd(kernel, Number(values.seconds)));
  const image = await makeImage(place, values.store, dirname(archive));
  const runs = contestants(kernel.vmlinux, archive, image);
  const seen: Record<string, Map<string, number>[]> = { tvmm: [], qemu: [] };
  for (let round = 1; round <= rounds; round++) {
    // Who goes first changes, since a load on this machine may come and go in any rhythm.
    const order = Object.entries(runs);
    if (round % 2 === 0) order.reverse();
    for (const [name, command] of order) {
      const found = await rates(place, command);
      seen[name].push(found);
      const text = LOADS.map((load) => shown(load, found.get(load.name) ?? 0)).join(', ');
      display.report(`round ${round}/${rounds} ${name}: ${text}`);
    }
  }
  display[Symbol.dispose]();
  const of = (name: string, load: Load) => seen[name].map((found) => found.get(load.name) ?? 0);
  const ratio = (load: Load) => {
    const theirs = of('qemu', load);
    return median(of('tvmm', load).map((rate, round) => rate / theirs[round]));
  };
  table(
    [`depth, median of ${rounds}, on ${values.store}`, 'tvmm', 'qemu', 'ratio'],
    LOADS.map((load) => [
      `${load.name} (${load.depth})`,
      shown(load, median(of('tvmm', load))),
      shown(load, median(of('qemu', load))),
      ratio(load).toFixed(2),
    ]),
  );
  for (const load of LOADS.filter(({ figure }) => figure)) {
    console.log(`${load.name} ratio ${ratio(load).toFixed(2)} goal ${GOAL.toFixed(2)}`);
  }
}

await main();
