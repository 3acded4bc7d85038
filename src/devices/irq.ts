/**
 * Level-triggered interrupt lines shared by several devices: a wired OR in front of one GSI of the in-kernel controllers
 * (KVM_IRQ_LINE; KVM API, section 4.25). Which device pulls is a bit in shared state, so any thread may drive any input.
 */
import type { DeviceContext } from './context.js';
import type { InterruptLine } from './device.js';
import type { StateWindow } from './state.js';

/** One bit of the level word per device. */
const MAX_INPUTS = 32;

/** A GSI that up to 32 devices pull. Each takes an input of its own with {@link SharedInterruptLine.connect}. */
export class SharedInterruptLine {
  readonly #state: StateWindow;
  readonly #context: DeviceContext;
  #inputs = 0;

  constructor(
    context: DeviceContext,
    readonly gsi: number,
  ) {
    this.#context = context;
    this.#state = context.arena.claim(`interrupt line ${gsi}`, 1);
  }

  /** The next input, in construction order. @throws RangeError after 32 of them */
  connect(name: string): InterruptLine {
    if (this.#inputs >= MAX_INPUTS) throw new RangeError(`GSI ${this.gsi} has no input left for ${name}`);
    const bit = 2 ** this.#inputs++;
    return { gsi: this.gsi, setLevel: (high) => this.#drive(bit, high) };
  }

  /** Whether any device pulls the line. */
  get asserted(): boolean {
    return Atomics.load(this.#state.u32, 0) !== 0;
  }

  #drive(bit: number, high: boolean): void {
    const { u32 } = this.#state;
    if (((Atomics.load(u32, 0) & bit) !== 0) === high) return;
    // The controller must see the changes in the order in which the word made them: the call belongs inside the lock.
    this.#state.lock();
    try {
      const before = high ? Atomics.or(u32, 0, bit) : Atomics.and(u32, 0, ~bit);
      const after = high ? before | bit : before & ~bit;
      if ((before === 0) !== (after === 0)) this.#context.vm.setIrqLine(this.gsi, after === 0 ? 0 : 1);
    } finally {
      this.#state.unlock();
    }
  }
}
