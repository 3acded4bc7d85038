/**
 * A micro-guest of firmware/ on the low-level handles: one vCPU, 2 MiB of RAM, no devices. Each {@link MicroGuest.next} enters the guest once
 * and decodes the exit; answering it is the test's part, through {@link MicroGuest.view}.
 */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import {
  BytesSource,
  currentThreadId,
  decodeExit,
  type Exit,
  guestCpuid,
  installKickHandler,
  loadKernel,
  packageRoot,
  RunView,
  setBootRegisters,
  setCommonState,
} from 'tvmm';
import { type KVM_CAP, Kvm, type Vcpu, type Vm } from 'tvmm/kvm';
import { GuestMemory, ramLayout } from 'tvmm/memory';

/** As firmware/micro.h has them. */
export const PORT_TEST = 0x500;
export const MMIO_TEST = 0xd800_0000;
export const PARAMETER = 0x8000;
export const BUFFER = 0x9000;

export type Mode = 'real16' | 'protected32' | 'long64';

/** A guest's bytes; `npm run build` assembles them. */
export function firmware(name: string): Uint8Array {
  return readFileSync(join(packageRoot(), 'dist/firmware', `${name}.bin`));
}

/** Why tests that need /dev/kvm, and these capabilities of it, cannot run here; undefined when they can. */
export function missing(...capabilities: (keyof typeof KVM_CAP)[]): string | undefined {
  try {
    using kvm = Kvm.open();
    const lacking = capabilities.filter((name) => kvm.capability(name) === 0);
    return lacking.length === 0
      ? undefined
      : `this /dev/kvm lacks ${lacking.map((name) => `KVM_CAP_${name}`).join(', ')}`;
  } catch (error) {
    return `no /dev/kvm: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** The guest stayed inside one KVM_RUN for too long and was kicked out. */
export class NoExitError extends Error {}

/** No guest of these tests computes for so long between two exits, also not under emulation. */
const LIMIT_MS = 5000;
let watched: Int32Array | undefined;

/** Odd while this thread is inside KVM_RUN; see watchdog.mjs. */
function watchWord(): Int32Array {
  if (watched !== undefined) return watched;
  watched = new Int32Array(new SharedArrayBuffer(4));
  installKickHandler();
  const workerData = { word: watched, threadId: currentThreadId(), limitMs: LIMIT_MS };
  new Worker(new URL('./watchdog.mjs', import.meta.url), { workerData }).unref();
  return watched;
}

export interface MicroGuestOptions {
  irqchip?: boolean;
  memory?: GuestMemory;
  /** The word at PARAMETER. */
  parameter?: number;
}

export class MicroGuest implements Disposable {
  readonly #stack = new DisposableStackLike();
  readonly vm: Vm;
  readonly vcpu: Vcpu;
  readonly memory: GuestMemory;
  readonly view: RunView;

  /** @param code a name in firmware/ or machine code */
  constructor(code: string | Uint8Array, mode: Mode, options: MicroGuestOptions = {}) {
    const use = <T extends Disposable>(resource: T): T => this.#stack.use(resource);
    const kvm = use(Kvm.open());
    this.vm = use(kvm.createVm());
    if (options.irqchip === true) this.vm.createIrqchip();
    this.memory = options.memory ?? use(GuestMemory.create(ramLayout(2 * 2 ** 20)));
    this.memory.registerWith(this.vm);
    const bytes = typeof code === 'string' ? firmware(code) : code;
    const plan = loadKernel(this.memory, {
      kernel: new BytesSource(bytes, 'micro-guest'),
      cmdline: '',
      protocol: 'flat',
      flat: { mode },
      acpiRsdp: 0,
      memoryMap: [],
    });
    this.memory.writeU32(PARAMETER, options.parameter ?? 0);
    this.vcpu = use(this.vm.createVcpu(0, kvm.vcpuMmapSize()));
    this.vcpu.setCpuid(guestCpuid(kvm.supportedCpuid(), { apicId: 0, cpus: 1, mask: [] }));
    setCommonState(this.vcpu, options.irqchip === true);
    setBootRegisters(this.vcpu, plan.state);
    this.view = new RunView(this.vcpu.run);
  }

  /** Enters the guest until its next exit. */
  next(): Exit {
    const word = watchWord();
    Atomics.add(word, 0, 1);
    const errno = this.vcpu.enter();
    Atomics.add(word, 0, 1);
    if (errno === constants.errno.EINTR) throw new NoExitError('the guest never exits');
    if (errno !== 0) throw new Error(`KVM_RUN: errno ${errno}`);
    return decodeExit(this.view);
  }

  /** Answers the pending IN or MMIO read. */
  answer(exit: Exit, bytes: readonly number[]): void {
    if (exit.reason === 'io') this.view.u8.set(bytes, this.view.ioDataOffset);
    else if (exit.reason === 'mmio') this.view.u8.set(bytes, RunView.MMIO_DATA);
  }

  /** All exits up to HLT (left out); reads get the bytes of `input` one after the other. */
  runToHalt(input: readonly number[] = [], limit = 10_000): Exit[] {
    const exits: Exit[] = [];
    let given = 0;
    while (exits.length < limit) {
      const exit = this.next();
      if (exit.reason === 'hlt') return exits;
      exits.push(exit);
      if (exit.reason === 'io' && exit.direction === 'in') {
        const length = exit.size * exit.count;
        this.answer(exit, input.slice(given, given + length));
        given += length;
      } else if (exit.reason === 'mmio' && !exit.write) {
        this.answer(exit, input.slice(given, given + exit.length));
        given += exit.length;
      } else if (!['io', 'mmio', 'intr'].includes(exit.reason)) {
        throw new Error(
          `unexpected exit: ${JSON.stringify(exit, (_, v) => (typeof v === 'bigint' ? `${v}` : v))}`,
        );
      }
    }
    throw new Error(`no HLT within ${limit} exits`);
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

/** Disposes in reverse order (DisposableStack is not in every Node that tvmm supports). */
class DisposableStackLike {
  readonly #resources: Disposable[] = [];

  use<T extends Disposable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }

  dispose(): void {
    for (const resource of this.#resources.reverse()) resource[Symbol.dispose]();
  }
}

/** The bytes of all OUTs to the test port, joined. */
export function outBytes(exits: readonly Exit[]): number[] {
  return exits.flatMap((exit) =>
    exit.reason === 'io' && exit.direction === 'out' && exit.port === PORT_TEST ? [...exit.data] : [],
  );
}

/** Each OUT's value as an unsigned number. */
export function outValues(exits: readonly Exit[]): number[] {
  return exits.flatMap((exit) => {
    if (exit.reason !== 'io' || exit.direction !== 'out') return [];
    const view = new DataView(exit.data.buffer, exit.data.byteOffset);
    return Array.from({ length: exit.count }, (_, i) =>
      exit.size === 4
        ? view.getUint32(4 * i, true)
        : exit.size === 2
          ? view.getUint16(2 * i, true)
          : view.getUint8(i),
    );
  });
}
