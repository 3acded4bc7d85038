/**
 * What devices are built from. Every thread of a machine builds the same devices in the same order: state windows, eventfds and
 * interrupt vectors are claimed in that order, so that they need no names across threads.
 */
import type { Vm } from '../kvm/vm.js';
import type { GuestRam } from '../memory/types.js';
import { createEventfd } from '../sys/eventfd.js';
import type { FileDescriptor } from '../sys/fd.js';
import type { RequestMachine } from './device.js';
import type { StateArena } from './state.js';

/** Hands out eventfds in construction order. */
export interface EventfdSource {
  /** The raw descriptor; it stays the source's. */
  next(name: string): number;
}

/** The control thread's source: creates the eventfds and owns them. */
export class EventfdOwner implements EventfdSource, Disposable {
  readonly #files: FileDescriptor[] = [];

  next(name: string): number {
    const file = createEventfd(name);
    this.#files.push(file);
    return file.fd;
  }

  /** The numbers, for {@link EventfdReplay} on other threads. */
  get numbers(): number[] {
    return this.#files.map((file) => file.fd);
  }

  [Symbol.dispose](): void {
    for (const file of this.#files) file[Symbol.dispose]();
  }
}

/** Other threads' source: hands out the owner's descriptors in the same order. */
export class EventfdReplay implements EventfdSource {
  #next = 0;
  constructor(readonly numbers: readonly number[]) {}

  next(name: string): number {
    if (this.#next >= this.numbers.length) throw new Error(`no eventfd was made for ${name}`);
    return this.numbers[this.#next++];
  }
}

/** Passed to every device's constructor. */
export interface DeviceContext {
  readonly arena: StateArena;
  readonly ram: GuestRam;
  readonly vm: Vm;
  readonly eventfds: EventfdSource;
  readonly request: RequestMachine;
  /** Exactly one thread registers ioeventfds, irqfds and first routes with KVM: the one that owns the machine. */
  readonly isOwner: boolean;
}
