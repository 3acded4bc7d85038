/**
 * Test support: the driver's side of a split virtqueue (Virtual I/O Device 1.2, section 2.7), written from the driver's rules alone, and a
 * bump allocator for guest memory. Tests may also reach into the areas and break every rule.
 */
import type { Gpa, GuestRam } from '../../memory/types.js';
import {
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
} from './constants.js';

/** One buffer of a chain; all that are not `write` come first. */
export interface Buffer {
  readonly gpa: Gpa;
  readonly length: number;
  readonly write: boolean;
}

/** Hands out guest memory, upwards. */
export class GuestAllocator {
  #next: Gpa;

  constructor(start: Gpa = 0x1000) {
    this.#next = start;
  }

  take(length: number, alignment = 16): Gpa {
    const gpa = Math.ceil(this.#next / alignment) * alignment;
    this.#next = gpa + length;
    return gpa;
  }
}

export class GuestRing {
  readonly descriptors: Gpa;
  readonly driver: Gpa;
  readonly device: Gpa;
  readonly #free: number[];
  readonly #chains = new Map<number, number[]>();
  availIdx = 0;
  usedIdx = 0;

  constructor(
    readonly ram: GuestRam,
    readonly allocator: GuestAllocator,
    readonly size: number,
    readonly eventIdx: boolean,
  ) {
    this.descriptors = allocator.take(size * 16, 16);
    this.driver = allocator.take(6 + 2 * size, 2);
    this.device = allocator.take(6 + 8 * size, 4);
    this.#free = Array.from({ length: size }, (_, i) => size - 1 - i);
  }

  get freeDescriptors(): number {
    return this.#free.length;
  }

  writeDescriptor(table: Gpa, index: number, gpa: Gpa, length: number, flags: number, next: number): void {
    const at = table + index * 16;
    this.ram.writeU64(at, gpa);
    this.ram.writeU32(at + 8, length);
    this.ram.writeU16(at + 12, flags);
    this.ram.writeU16(at + 14, next);
  }

  /** Makes a chain available. @returns its head */
  add(buffers: readonly Buffer[], indirect = false): number {
    const count = indirect ? 1 : buffers.length;
    const slots = Array.from({ length: count }, () => {
      const slot = this.#free.pop();
      if (slot === undefined) throw new Error('the ring is full');
      return slot;
    });
    const flagsOf = (i: number) =>
      (buffers[i].write ? VIRTQ_DESC_F_WRITE : 0) | (i + 1 < buffers.length ? VIRTQ_DESC_F_NEXT : 0);
    if (indirect) {
      const table = this.allocator.take(buffers.length * 16, 16);
      buffers.forEach((buffer, i) => {
        this.writeDescriptor(table, i, buffer.gpa, buffer.length, flagsOf(i), i + 1);
      });
      this.writeDescriptor(this.descriptors, slots[0], table, buffers.length * 16, VIRTQ_DESC_F_INDIRECT, 0);
    } else {
      buffers.forEach((buffer, i) => {
        const next = slots[i + 1] ?? 0;
        this.writeDescriptor(this.descriptors, slots[i], buffer.gpa, buffer.length, flagsOf(i), next);
      });
    }
    this.#chains.set(slots[0], slots);
    this.publish(slots[0]);
    return slots[0];
  }

  /** Writes a head into the available ring, whatever it is. */
  publish(head: number): void {
    this.ram.writeU16(this.driver + 4 + (this.availIdx % this.size) * 2, head);
    this.availIdx = (this.availIdx + 1) & 0xffff;
    this.ram.writeU16(this.driver + 2, this.availIdx);
  }

  /** Whether the device wants a kick, when the driver last looked at index `before`. */
  wantsKick(before: number): boolean {
    if (!this.eventIdx) return (this.ram.readU16(this.device) & VIRTQ_USED_F_NO_NOTIFY) === 0;
    const event = this.ram.readU16(this.device + 4 + 8 * this.size);
    return ((this.availIdx - event - 1) & 0xffff) < ((this.availIdx - before) & 0xffff);
  }

  /** The next used chain. @throws Error for a head that the driver did not make available */
  takeUsed(): { head: number; written: number } | undefined {
    if (this.ram.readU16(this.device + 2) === this.usedIdx) return undefined;
    const at = this.device + 4 + (this.usedIdx % this.size) * 8;
    const head = this.ram.readU32(at);
    const slots = this.#chains.get(head);
    if (slots === undefined) throw new Error(`the device used chain ${head}, which it was never given`);
    this.#chains.delete(head);
    this.#free.push(...slots.reverse());
    this.usedIdx = (this.usedIdx + 1) & 0xffff;
    return { head, written: this.ram.readU32(at + 4) };
  }

  /** Asks for an interrupt at the next used chain. @returns true when there already is one */
  enableInterrupts(): boolean {
    if (this.eventIdx) this.ram.writeU16(this.driver + 4 + 2 * this.size, this.usedIdx);
    else this.ram.writeU16(this.driver, 0);
    return this.ram.readU16(this.device + 2) !== this.usedIdx;
  }

  /** Asks for silence; with EVENT_IDX, by naming an index just passed. */
  disableInterrupts(): void {
    if (this.eventIdx) this.ram.writeU16(this.driver + 4 + 2 * this.size, (this.usedIdx - 1) & 0xffff);
    else this.ram.writeU16(this.driver, VIRTQ_AVAIL_F_NO_INTERRUPT);
  }
}
