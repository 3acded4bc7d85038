/**
 * What a virtio disk gives a guest: tvmm against QEMU's q35 with virtio-blk, an iothread and io_uring, on the same image, kernel, initrd and
 * memory, in turns, in one lab (or on this machine, where its KVM runs stock kernels).
 *
 *     node dist/bench/blk.js [--rounds 9] [--seconds 2] [--store ext4|tmpfs|overlay]
 *
 * The guest is a kernel, the drivers and firmware/blk-load.c, which asks for direct I/O at a fixed depth for so many seconds of the guest's
 * clock. Both guests are booted once and then get each load in turn, so that a busy machine troubles both alike.
 */
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { kvmUsability, packageRoot } from 'tvmm';
import { ensureKernel } from '../src/guest/kernels.js';
import { showProgress } from '../src/guest/progress.js';
import { shellQuote } from '../src/lab/shell.js';
import { blkInitrd, DUEL, LOADS, type Load, loadLine, MIB } from './support/blk-guest.js';
import { median, table } from './support/figures.js';
import { type BenchPlace, openBench } from './support/place.js';

const GOAL = 0.8;
const MEMORY_MIB = 256;
/** Lies in the page cache as a whole. */
const IMAGE_MIB = 64;

/** Where the images may lie, in the lab: its root is an overlay whose upper layer is a tmpfs. */
const STORES = { ext4: '/blk-store', tmpfs: '/dev/shm/blk', overlay: '/tmp/blk' };
type Store = keyof typeof STORES;

/** Run as `sh -c SCRIPT sh FOLDER`: the images, full of data so that no read meets a hole. */
const MAKE_IMAGES = `mkdir -p "$1" && dd if=/dev/zero of="$1/tvmm.img" bs=1M count=${IMAGE_MIB} status=none &&
cp "$1/tvmm.img" "$1/qemu.img" && sync`;
/** A file system as a host would have it, on a disk that costs next to nothing: the page cache does the work, as it does on real ones. */
const MAKE_EXT4 = `modprobe crc32c_generic && modprobe loop && modprobe ext4 && mkdir -p "$1" && truncate -s ${2 * IMAGE_MIB + 64}M /dev/shm/blk-store &&
mkfs.ext4 -q /dev/shm/blk-store && mount -o loop,noatime /dev/shm/blk-store "$1"`;

async function must(place: BenchPlace, argv: string[]): Promise<string> {
  const { status, stdout, stderr } = await place.run(argv);
  if (status !== 0) throw new Error(`${argv.slice(0, 2).join(' ')} failed (${status}): ${stderr}${stdout}`);
  return stdout;
}

/**
 * Makes an image for each contestant, since each locks its own; returns their folder. Without the lab all stores are one: `beside`, where
 * temporary files are.
 */
async function makeImages(place: BenchPlace, store: Store, beside: string): Promise<string> {
  const inLab = !kvmUsability().usable;
  const folder = inLab ? STORES[store] : join(beside, 'blk');
  if (store === 'ext4' && inLab) await must(place, ['sh', '-c', MAKE_EXT4, 'sh', folder]);
  await must(place, ['sh', '-c', MAKE_IMAGES, 'sh', folder]);
  return folder;
}

/** The two command lines, for a shell: tvmm's, then QEMU's. */
function contestants(kernel: string, archive: string, folder: string): string[] {
  const append = 'console=ttyS0 quiet panic=-1 rdinit=/init';
  const tvmm = [
    ...[process.execPath, join(packageRoot(), 'dist/cli.js'), 'boot', '--accel', 'kvm'],
    ...['--memory', `${MEMORY_MIB}M`, '--kernel', kernel, '--initrd', archive, '--rootfs', 'none'],
    ...['--drive', join(folder, 'tvmm.img'), '--cmdline', append],
  ];
  const qemu = [
    ...['qemu-system-x86_64', '-M', 'q35', '-accel', 'kvm', '-cpu', 'host', '-m', `${MEMORY_MIB}`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
    ...['-kernel', kernel, '-initrd', archive, '-append', append],
    ...['-drive', `if=none,id=d,file=${join(folder, 'qemu.img')},format=raw,aio=io_uring,cache=writeback`],
    ...['-object', 'iothread,id=io', '-device', 'virtio-blk-pci,drive=d,iothread=io'],
  ];
  return [tvmm, qemu].map((words) => words.map(shellQuote).join(' '));
}

interface Round {
  tvmm: number;
  qemu: number;
}

/** Requests a second in each round after the first, by the load's name. */
function ratesIn(text: string): Map<string, Round[]> {
  const found = new Map<string, Round[]>();
  for (const match of text.matchAll(/^([1-9]\d*) (tvmm|qemu) BLK (\S+) (\d+) (\d+)\r?$/gm)) {
    const [, round, who, name, requests, nanoseconds] = match;
    const rounds = found.get(name) ?? [];
    found.set(name, rounds);
    const entry = rounds[Number(round) - 1] ?? { tvmm: 0, qemu: 0 };
    rounds[Number(round) - 1] = entry;
    entry[who === 'tvmm' ? 'tvmm' : 'qemu'] = (Number(requests) * 1e9) / Number(nanoseconds);
  }
  return found;
}

function shown(load: Load, rate: number): string {
  return load.block === MIB ? `${rate.toFixed(0)} MiB/s` : `${rate.toFixed(0)} /s`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '9' },
      seconds: { type: 'string', default: '2' },
      store: { type: 'string', default: 'ext4' },
    },
  });
  const { rounds, seconds, store } = values;
  if (store !== 'ext4' && store !== 'tmpfs' && store !== 'overlay')
    throw new Error(`--store is ext4, tmpfs or overlay, not ${store}`);
  using display = showProgress();
  const kernel = await ensureKernel('cloud', display.report);
  // A guest that hangs must not hold the bench for ever; a busy machine may take a few times as long.
  const limit = 300 + 5 * (Number(rounds) + 1) * LOADS.length * 2 * Number(seconds);
  await using place = await openBench({
    memoryMiB: 3072,
    timeoutMs: (limit + 60) * 1000,
    progress: display.report,
  });
  const archive = place.put('blk-initrd', await blkInitrd(kernel));
  const loads = place.put(
    'blk-loads',
    Buffer.from(`${LOADS.map((load) => loadLine(load, Number(seconds))).join('\n')}\n`),
  );
  display.report('making the images');
  const folder = await makeImages(place, store, dirname(archive));
  const commands = contestants(kernel.vmlinux, archive, folder);
  display.report(`${rounds} rounds of ${LOADS.length} loads of ${seconds} s, each under tvmm and under QEMU`);
  const script = `exec <"$1"; shift; ${DUEL}`;
  const argv = [
    'timeout',
    '-k',
    '5',
    `${limit}`,
    'sh',
    '-c',
    script,
    'sh',
    loads,
    folder,
    rounds,
    ...commands,
  ];
  let { restarts } = place;
  let output = await place.run(argv);
  // In a new lab there are no images: what ran there says nothing.
  while (place.restarts !== restarts) {
    restarts = place.restarts;
    await makeImages(place, store, dirname(archive));
    output = await place.run(argv);
  }
  if (output.status !== 0)
    throw new Error(`the loads failed (${output.status}): ${output.stderr}${output.stdout}`);
  const text = output.stdout;
  display[Symbol.dispose]();
  const found = ratesIn(text);
  const summary = LOADS.map((load) => {
    const of = found.get(load.name) ?? [];
    return {
      load,
      tvmm: median(of.map(({ tvmm }) => tvmm)),
      qemu: median(of.map(({ qemu }) => qemu)),
      // Pair by pair: neighbours in time share the machine's load, medians of each side alone would not.
      ratio: median(of.map(({ tvmm, qemu }) => tvmm / qemu)),
    };
  });
  table(
    [`load (depth), median of ${rounds}, ${store}`, 'tvmm', 'qemu', 'ratio'],
    summary.map(({ load, tvmm, qemu, ratio }) => [
      `${load.name} (${load.depth})`,
      shown(load, tvmm),
      shown(load, qemu),
      ratio.toFixed(2),
    ]),
  );
  for (const { load, ratio } of summary.filter((one) => one.load.figure))
    console.log(`${load.name} ratio ${ratio.toFixed(2)} goal ${GOAL.toFixed(2)}`);
}

await main();
