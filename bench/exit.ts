/**
 * What an exit costs in TypeScript: tvmm's own vCPU loop, buses and device lock in a thread of its own, against firmware/exit-loop.c on the
 * same guest. The contestants take turns, so that a busy machine troubles both; medians count.
 *
 *     node dist/bench/exit.js [exits a round] [rounds]
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import {
  type AccessSize,
  Bus,
  type BusDevice,
  BytesSource,
  guestCpuid,
  loadKernel,
  packageRoot,
  runVcpu,
  StateArena,
  setBootRegisters,
  VcpuControl,
} from 'tvmm';
import { Kvm } from 'tvmm/kvm';
import { GuestMemory, ramLayout } from 'tvmm/memory';

/** As firmware/micro.h has them. */
const PORT_TEST = 0x500;
const MMIO_TEST = 0xd800_0000;
const PARAMETER = 0x8000;
const WINDOW = 0x1000;
const GOAL = 1.1;

type Kind = 'pio' | 'mmio';
interface Round {
  kind: Kind;
  exits: number;
}

const guestPath = (kind: Kind) => join(packageRoot(), 'dist/firmware', `${kind}-loop.bin`);

/** A counter and the last value, as in exit-loop.c; both live in shared state, as in every device of tvmm. */
class Counter implements BusDevice {
  readonly name = 'counter';
  readonly state;

  constructor(arena: StateArena) {
    this.state = arena.claim(this.name, 2);
  }

  get accesses(): number {
    return this.state.u32[0];
  }
  read(_offset: number, _size: AccessSize): number {
    this.state.u32[0]++;
    return this.state.u32[1];
  }
  write(_offset: number, _size: AccessSize, value: number): void {
    this.state.u32[0]++;
    this.state.u32[1] = value;
  }
}

/**
 * A machine of one vCPU and one device. It lives through all rounds, as a machine lives longer than a round: code that V8 compiled for the
 * objects of one machine is thrown away with them.
 */
class ExitMachine {
  readonly #kvm = Kvm.open();
  readonly #vm = this.#kvm.createVm();
  readonly #memory = GuestMemory.create(ramLayout(2 * 2 ** 20));
  readonly #vcpu = this.#vm.createVcpu(0, this.#kvm.vcpuMmapSize());
  readonly #plan;
  readonly #device = new Counter(new StateArena());
  readonly #buses = { pio: new Bus('PIO'), mmio: new Bus('MMIO') };
  readonly #control = new VcpuControl(VcpuControl.bufferFor(1), 0);

  constructor(kind: Kind) {
    this.#memory.registerWith(this.#vm);
    this.#plan = loadKernel(this.#memory, {
      kernel: new BytesSource(readFileSync(guestPath(kind)), kind),
      cmdline: '',
      protocol: 'flat',
      flat: { mode: 'long64' },
      acpiRsdp: 0,
      memoryMap: [],
    });
    this.#vcpu.setCpuid(guestCpuid(this.#kvm.supportedCpuid(), { apicId: 0, cpus: 1, mask: [] }));
    if (kind === 'pio') this.#buses.pio.add(PORT_TEST, WINDOW, this.#device);
    else this.#buses.mmio.add(MMIO_TEST, WINDOW, this.#device);
  }

  /** One run of the guest from its first instruction. @returns nanoseconds an exit */
  run(exits: number): number {
    this.#memory.writeU32(PARAMETER, exits);
    setBootRegisters(this.#vcpu, this.#plan.state);
    const before = this.#device.accesses;
    const start = process.hrtime.bigint();
    const end = runVcpu(this.#vcpu, this.#buses, this.#control);
    const nanoseconds = Number(process.hrtime.bigint() - start);
    if (end.kind !== 'halted') throw new Error(`the guest ended otherwise than by HLT: ${end.kind}`);
    const seen = (this.#device.accesses - before) >>> 0;
    if (seen !== exits) throw new Error(`the device saw ${seen} of ${exits} accesses`);
    return nanoseconds / exits;
  }
}

const machines = new Map<Kind, ExitMachine>();

function tvmmRound({ kind, exits }: Round): number {
  const machine = machines.get(kind) ?? new ExitMachine(kind);
  machines.set(kind, machine);
  return machine.run(exits);
}

/** The same on the C program. */
function cRound({ kind, exits }: Round): number {
  const program = join(packageRoot(), 'dist/firmware/exit-loop');
  const args = [guestPath(kind), `${PORT_TEST}`, `${MMIO_TEST}`, `${exits}`];
  const [nanoseconds, seen] = execFileSync(program, args, { encoding: 'utf8' }).split(' ').map(Number);
  if (seen !== exits) throw new Error(`exit-loop saw ${seen} of ${exits} accesses`);
  return nanoseconds / exits;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

async function main(): Promise<void> {
  const exits = Number(process.argv[2] ?? 10_000);
  const rounds = Number(process.argv[3] ?? 31);
  const worker = new Worker(new URL(import.meta.url));
  const inThread = (round: Round) => {
    worker.postMessage(round);
    return once(worker, 'message').then(([nanoseconds]: number[]) => nanoseconds);
  };
  console.log(
    `${exits} exits a round, ${rounds} rounds each, alternated; median (least) in ns an exit, exits a second`,
  );
  const ratios: [Kind, number][] = [];
  for (const kind of ['pio', 'mmio'] as const) {
    // The first rounds compile the loop: a machine that runs for more than a second has that behind it.
    for (let round = 0; round < 2; round++) await inThread({ kind, exits });
    cRound({ kind, exits });
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      ours.push(await inThread({ kind, exits }));
      theirs.push(cRound({ kind, exits }));
    }
    for (const [name, times] of [
      ['tvmm', ours],
      ['C', theirs],
    ] as const) {
      const middle = median(times);
      const figures = [middle, Math.min(...times), 1e9 / middle].map((n) =>
        Math.round(n).toString().padStart(9),
      );
      console.log(`${kind.padEnd(5)}${name.padEnd(5)}${figures[0]} (${figures[1].trim()})${figures[2]}/s`);
    }
    // Round by round: neighbours in time share the machine's load, medians of each side alone would not.
    ratios.push([kind, median(ours.map((time, round) => time / theirs[round]))]);
  }
  await worker.terminate();
  for (const [kind, ratio] of ratios)
    console.log(`${kind} ratio ${ratio.toFixed(3)} goal ${GOAL.toFixed(2)}`);
}

if (isMainThread) await main();
else parentPort?.on('message', (round: Round) => parentPort?.postMessage(tvmmRound(round)));
