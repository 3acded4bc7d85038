/**
 * Message-signalled interrupts of a whole machine: one table in shared state, in which a vector is an address, a datum, and mask
 * and pending bits as MSI-X defines them (PCI Local Bus 3.0, section 6.8).
 *
 * A vector is delivered in one of two ways. `message`: the signalling thread hands the message to KVM (KVM_SIGNAL_MSI), which costs one
 * system call as an eventfd would, and the guest may reprogram it for free. `irqfd`: the kernel or another process signals an
 * eventfd (vhost, VFIO), which needs a GSI route; each change of it rewrites KVM's whole table (KVM_SET_GSI_ROUTING waits for a grace
 * period), so it happens only when a vector is unmasked with a message that KVM does not have yet.
 */
import type { IrqRoute } from '../kvm/vm.js';
import { SystemError } from '../sys/errors.js';
import { signalEventfd } from '../sys/eventfd.js';
import type { DeviceContext } from './context.js';
import type { StateWindow } from './state.js';

/** The first GSI behind the IOAPIC's pins. */
const FIRST_MSI_GSI = 24;
const MAX_VECTORS = 512;

/** Words of a vector in the table. */
const WORDS = 8;
const ADDRESS_LOW = 0;
const ADDRESS_HIGH = 1;
const DATA = 2;
const FLAGS = 3;
/** What KVM's route holds; valid with ROUTED. */
const ROUTED_LOW = 4;
const ROUTED_HIGH = 5;
const ROUTED_DATA = 6;

const MASKED = 1;
const PENDING = 2;
const ROUTED = 4;
const IRQFD_ASSIGNED = 8;

/** Who signals: threads of this process, or anyone who holds the eventfd. */
export type MsiDelivery = 'message' | 'irqfd';

/**
 * The routes that KVM itself sets up with its irqchip (arch/x86/kvm/irq_comm.c): GSI n is IOAPIC pin n, and below 16 also the PICs'
 * pin n. The timer's GSI 0 therefore is pin 0, and the MADT needs no override for it.
 */
export function defaultRoutes(): IrqRoute[] {
  const routes: IrqRoute[] = [];
  for (let gsi = 0; gsi < FIRST_MSI_GSI; gsi++) {
    routes.push({ gsi, irqchip: 2, pin: gsi });
    if (gsi < 16) routes.push({ gsi, irqchip: gsi < 8 ? 0 : 1, pin: gsi % 8 });
  }
  return routes;
}

/** Runs a call that fails when the guest programmed nonsense; that loses its own interrupt and nothing else. */
function attempt(call: () => void): boolean {
  try {
    call();
    return true;
  } catch (error) {
    if (error instanceof SystemError) return false;
    throw error;
  }
}

/** One message-signalled interrupt. All methods are thread-safe; a vector starts masked. */
export class MsiVector {
  /** The eventfd behind an `irqfd` vector, else -1. Write to it only while {@link masked} is false, or use {@link signal}. */
  readonly fd: number;

  constructor(
    private readonly owner: MsiRoutes,
    private readonly context: DeviceContext,
    private readonly table: StateWindow,
    private readonly base: number,
    /** The route's GSI (`irqfd` vectors). */
    readonly gsi: number,
    fd: number,
  ) {
    this.fd = fd;
  }

  #get(word: number): number {
    return Atomics.load(this.table.u32, this.base + word);
  }

  get addressLow(): number {
    return this.#get(ADDRESS_LOW);
  }

  get addressHigh(): number {
    return this.#get(ADDRESS_HIGH);
  }

  get data(): number {
    return this.#get(DATA);
  }

  get masked(): boolean {
    return (this.#get(FLAGS) & MASKED) !== 0;
  }

  get pending(): boolean {
    return (this.#get(FLAGS) & PENDING) !== 0;
  }

  /** Fires the interrupt, or leaves it pending while the vector is masked. Never throws for what a guest programmed. */
  signal(): void {
    const { u32 } = this.table;
    const flags = this.base + FLAGS;
    if ((Atomics.load(u32, flags) & MASKED) === 0) {
      this.#fire();
      return;
    }
    // An unmasking thread may have looked for the pending bit just before this one set it: then it is this thread's to fire.
    if ((Atomics.or(u32, flags, PENDING) & MASKED) === 0) this.#firePending();
  }

  #firePending(): void {
    if ((Atomics.and(this.table.u32, this.base + FLAGS, ~PENDING) & PENDING) !== 0) this.#fire();
  }

  #fire(): void {
    if (this.fd >= 0) signalEventfd(this.fd);
    else attempt(() => this.context.vm.signalMsi(this.addressLow, this.addressHigh, this.data));
  }

  /** Changes the message. Guests do this while the vector is masked; a live vector takes the new message at once. */
  program(message: { addressLow?: number; addressHigh?: number; data?: number }): void {
    const { u32 } = this.table;
    if (message.addressLow !== undefined)
      Atomics.store(u32, this.base + ADDRESS_LOW, message.addressLow >>> 0);
    if (message.addressHigh !== undefined)
      Atomics.store(u32, this.base + ADDRESS_HIGH, message.addressHigh >>> 0);
    if (message.data !== undefined) Atomics.store(u32, this.base + DATA, message.data >>> 0);
    if (!this.masked) this.#route();
  }

  /** Masks or unmasks; unmasking fires what is pending. */
  setMasked(masked: boolean): void {
    const { u32 } = this.table;
    const flags = this.base + FLAGS;
    if (this.masked === masked) return;
    if (masked) {
      Atomics.or(u32, flags, MASKED);
      return;
    }
    this.#route();
    Atomics.and(u32, flags, ~MASKED);
    this.#firePending();
  }

  /** Forgets a pending interrupt, as a device reset does. */
  clearPending(): void {
    Atomics.and(this.table.u32, this.base + FLAGS, ~PENDING);
  }

  #route(): void {
    if (this.fd >= 0) this.owner.update(this);
  }

  /** Whether KVM's route is the programmed message. Under the table's lock. */
  get routeIsCurrent(): boolean {
    return (
      (this.#get(FLAGS) & ROUTED) !== 0 &&
      this.#get(ROUTED_LOW) === this.addressLow &&
      this.#get(ROUTED_HIGH) === this.addressHigh &&
      this.#get(ROUTED_DATA) === this.data
    );
  }

  /** Takes the message over into the route (or drops the route). Under the table's lock. */
  setRouted(routed: boolean): void {
    const { u32 } = this.table;
    u32[this.base + ROUTED_LOW] = this.addressLow;
    u32[this.base + ROUTED_HIGH] = this.addressHigh;
    u32[this.base + ROUTED_DATA] = this.data;
    if (routed) Atomics.or(u32, this.base + FLAGS, ROUTED);
    else Atomics.and(u32, this.base + FLAGS, ~ROUTED);
  }

  get route(): IrqRoute | undefined {
    if ((this.#get(FLAGS) & ROUTED) === 0) return undefined;
    const addressLow = this.#get(ROUTED_LOW);
    return { gsi: this.gsi, addressLow, addressHigh: this.#get(ROUTED_HIGH), data: this.#get(ROUTED_DATA) };
  }

  /** Registers the irqfd once; `again` repeats it on a VM that was made anew from saved state. */
  assignIrqfd(again = false): void {
    const before = Atomics.or(this.table.u32, this.base + FLAGS, IRQFD_ASSIGNED);
    if ((before & IRQFD_ASSIGNED) === 0 || again) this.context.vm.assignIrqfd(this.fd, this.gsi);
  }

  get irqfdAssigned(): boolean {
    return (this.#get(FLAGS) & IRQFD_ASSIGNED) !== 0;
  }
}

/** All vectors of a machine, and KVM's GSI routing table. */
export class MsiRoutes {
  readonly #context: DeviceContext;
  readonly #table: StateWindow;
  readonly #vectors: MsiVector[] = [];

  constructor(context: DeviceContext) {
    this.#context = context;
    this.#table = context.arena.claim('message-signalled interrupts', MAX_VECTORS * WORDS);
  }

  /**
   * Claims vectors, in construction order.
   *
   * @param delivery `irqfd` claims an eventfd for each (see the header); the default is `message`
   * @throws RangeError when the machine has more than 512
   */
  claim(name: string, count: number, delivery: MsiDelivery = 'message'): MsiVector[] {
    if (this.#vectors.length + count > MAX_VECTORS)
      throw new RangeError(`no interrupt vectors left for ${name}`);
    return Array.from({ length: count }, (_, i) => {
      const index = this.#vectors.length;
      const fd = delivery === 'irqfd' ? this.#context.eventfds.next(`${name} vector ${i}`) : -1;
      const base = index * WORDS;
      if (this.#context.isOwner) this.#table.u32[base + FLAGS] = MASKED;
      const vector = new MsiVector(this, this.#context, this.#table, base, FIRST_MSI_GSI + index, fd);
      this.#vectors.push(vector);
      return vector;
    });
  }

  /** Brings an `irqfd` vector's route up to date; costs nothing when KVM has it already. Any thread. */
  update(vector: MsiVector): void {
    this.#table.lock();
    try {
      if (vector.routeIsCurrent) return;
      vector.setRouted(true);
      vector.assignIrqfd();
      if (attempt(() => this.#install())) return;
      // A message that KVM refuses must not keep the other vectors' routes out.
      vector.setRouted(false);
      attempt(() => this.#install());
    } finally {
      this.#table.unlock();
    }
  }

  /** Registers everything again on a new VM whose shared state was filled from a snapshot. The owner calls it once. */
  restore(): void {
    this.#table.locked(() => {
      const wired = this.#vectors.filter((vector) => vector.irqfdAssigned);
      if (wired.length === 0) return;
      for (const vector of wired) vector.assignIrqfd(true);
      this.#install();
    });
  }

  #install(): void {
    const messages = this.#vectors.map((vector) => vector.route).filter((route) => route !== undefined);
    this.#context.vm.setGsiRouting([...defaultRoutes(), ...messages]);
  }
}
