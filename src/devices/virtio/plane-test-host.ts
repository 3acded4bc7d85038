/**
 * A data plane on a bench, for tests: real guest memory, real epoll, and the driver's side of split virtqueues in its simplest form. It
 * stands in for the I/O thread and for the guest; registers, transports and KVM are not involved.
 */
import { GuestMemory } from '../../memory/guest-memory.js';
import { Epoll } from '../../sys/epoll.js';
import type { DataPlane, DataPlaneHost } from './data-plane.js';
import { Virtqueue } from './queue.js';

/** One buffer of a chain. */
export interface TestBuffer {
  readonly gpa: number;
  readonly length: number;
  /** The device writes it. */
  readonly write?: boolean;
}

export interface UsedElement {
  readonly head: number;
  readonly length: number;
}

const DESC_F_NEXT = 1;
const DESC_F_WRITE = 2;
const DESC_F_INDIRECT = 4;
/** Guest memory: rings from 0 on, 256 KiB each; what is above belongs to the test. */
const RING_STRIDE = 0x4_0000;

/** The driver's side of one queue. */
export class TestDriver {
  readonly #base: number;
  #free: number[];
  #avail = 0;
  #used = 0;
  readonly #chains = new Map<number, number[]>();

  constructor(
    readonly ram: GuestMemory,
    readonly index: number,
    readonly size: number,
  ) {
    this.#base = index * RING_STRIDE;
    this.#free = Array.from({ length: size }, (_, i) => i).reverse();
  }

  get descriptors(): number {
    return this.#base;
  }
  get driverArea(): number {
    return this.#base + this.size * 16;
  }
  get deviceArea(): number {
    return this.#base + this.size * 16 + 6 + 2 * this.size + 2;
  }
  /** Room for indirect tables. */
  get #tables(): number {
    return this.#base + RING_STRIDE / 2;
  }

  writeDescriptor(table: number, index: number, buffer: TestBuffer, flags: number, next: number): void {
    const at = table + index * 16;
    this.ram.writeU64(at, buffer.gpa);
    this.ram.writeU32(at + 8, buffer.length);
    this.ram.writeU16(at + 12, flags | (buffer.write === true ? DESC_F_WRITE : 0));
    this.ram.writeU16(at + 14, next);
  }

  /** Makes a chain available; returns its head. */
  add(buffers: readonly TestBuffer[]): number {
    const indexes = buffers.map(() => {
      const index = this.#free.pop();
      if (index === undefined) throw new Error('the test driver is out of descriptors');
      return index;
    });
    buffers.forEach((buffer, i) => {
      const last = i === buffers.length - 1;
      this.writeDescriptor(this.descriptors, indexes[i], buffer, last ? 0 : DESC_F_NEXT, indexes[i + 1] ?? 0);
    });
    this.#chains.set(indexes[0], indexes);
    this.expose(indexes[0]);
    return indexes[0];
  }

  /** The same through an indirect table. */
  addIndirect(buffers: readonly TestBuffer[], table = this.#tables): number {
    buffers.forEach((buffer, i) => {
      const last = i === buffers.length - 1;
      this.writeDescriptor(table, i, buffer, last ? 0 : DESC_F_NEXT, i + 1);
    });
    const index = this.#free.pop();
    if (index === undefined) throw new Error('the test driver is out of descriptors');
    this.writeDescriptor(
      this.descriptors,
      index,
      { gpa: table, length: buffers.length * 16 },
      DESC_F_INDIRECT,
      0,
    );
    this.#chains.set(index, [index]);
    this.expose(index);
    return index;
  }

  /** Puts a head into the available ring, sane or not. */
  expose(head: number): void {
    this.ram.writeU16(this.driverArea + 4 + (this.#avail % this.size) * 2, head);
    this.#avail = (this.#avail + 1) & 0xffff;
    this.ram.writeU16(this.driverArea + 2, this.#avail);
  }

  /** What the device gave back since the last call. */
  used(): UsedElement[] {
    const elements: UsedElement[] = [];
    while (this.ram.readU16(this.deviceArea + 2) !== this.#used) {
      const at = this.deviceArea + 4 + (this.#used % this.size) * 8;
      const head = this.ram.readU32(at);
      elements.push({ head, length: this.ram.readU32(at + 4) });
      for (const index of this.#chains.get(head) ?? []) this.#free.push(index);
      this.#chains.delete(head);
      this.#used = (this.#used + 1) & 0xffff;
    }
    return elements;
  }
}

export class TestHost implements DataPlaneHost, Disposable {
  readonly name = 'device under test';
  readonly ram: GuestMemory;
  readonly epoll = new Epoll();
  readonly failures: string[] = [];
  /** By queue. */
  readonly interrupts: number[];
  readonly drivers: TestDriver[];
  readonly #queues: (Virtqueue | undefined)[];
  readonly #pending = new Set<number>();
  plane: DataPlane | undefined;

  constructor(queueSizes: readonly number[], memory = 32 * 2 ** 20) {
    this.ram = GuestMemory.create([{ gpa: 0, size: memory }]);
    this.drivers = queueSizes.map((size, index) => new TestDriver(this.ram, index, size));
    this.interrupts = queueSizes.map(() => 0);
    this.#queues = queueSizes.map(() => undefined);
  }

  /** Takes the plane over and activates it with fresh queues. */
  start(plane: DataPlane, features = 0xffff_ffff): void {
    this.plane = plane;
    this.drivers.forEach((driver, index) => {
      this.ram.bytes(index * RING_STRIDE, RING_STRIDE).fill(0);
      const fresh = new TestDriver(this.ram, index, driver.size);
      this.drivers[index] = fresh;
      this.#queues[index] = new Virtqueue(this.ram, {
        size: fresh.size,
        descriptors: fresh.descriptors,
        driver: fresh.driverArea,
        device: fresh.deviceArea,
        indirect: true,
        eventIdx: false,
      });
    });
    plane.activate?.(features, 1);
    this.drivers.forEach((_, index) => void this.again(index));
    this.#runPending();
  }

  /** The driver's kick. */
  kick(index: number): void {
    this.again(index);
    this.#runPending();
  }

  #runPending(): void {
    for (let turns = 0; this.#pending.size > 0; turns++) {
      if (turns > 10_000) throw new Error('the plane asks for turns for ever');
      for (const index of [...this.#pending]) {
        this.#pending.delete(index);
        this.#guard(() => {
          if (this.#queues[index] !== undefined) this.plane?.process(index);
        });
      }
    }
  }

  #guard(body: () => void): void {
    try {
      body();
    } catch (error) {
      this.fail(error instanceof Error ? error.message : String(error));
    }
  }

  /** Lets the plane work until `until` holds. @throws after 10 s */
  run(until: () => boolean): void {
    const deadline = Date.now() + 10_000;
    while (!until()) {
      // A wait may end early: io_uring interrupts it to complete requests.
      if (this.epoll.wait(1000) === 0 && Date.now() > deadline) throw new Error('nothing happens any more');
      this.#runPending();
    }
  }

  /** Everything that is ready now, and no more. */
  settle(): void {
    while (this.epoll.wait(0) > 0) this.#runPending();
  }

  /** What the driver's reset does; true once the plane is done. */
  reset(): { done: boolean } {
    const state = { done: false };
    this.#queues.fill(undefined);
    this.#pending.clear();
    this.plane?.reset(() => {
      if (state.done) throw new Error('reset is done twice');
      state.done = true;
    });
    return state;
  }

  queue(index: number): Virtqueue | undefined {
    return this.#queues[index];
  }
  signalUsed(index: number): void {
    if (this.#queues[index]?.needsInterrupt() === true) this.interrupts[index]++;
  }
  interruptQueue(index: number): void {
    this.interrupts[index]++;
  }
  interruptConfig(): void {}
  again(index: number): void {
    this.#pending.add(index);
  }
  fail(reason: string): void {
    // Only the first failure of an activation is reported, as on the I/O thread.
    if (this.#queues.every((queue) => queue === undefined)) return;
    this.failures.push(reason);
    this.#queues.fill(undefined);
  }

  [Symbol.dispose](): void {
    this.plane?.[Symbol.dispose]();
    this.epoll[Symbol.dispose]();
    this.ram[Symbol.dispose]();
  }
}
