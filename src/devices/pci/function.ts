/**
 * A conventional PCI function with a type 0 header (PCI Local Bus 3.0, chapter 6): identification, command and status, BARs, capabilities, INTx
 * and MSI-X. All registers are in shared state; whoever calls in holds the function's lock. Multi-function devices, expansion ROMs, MSI
 * and power management are left out: each costs a booting guest accesses and gives a virtual device nothing.
 */
import type { DeviceContext } from '../context.js';
import type { AccessSize, InterruptLine } from '../device.js';
import type { MsiDelivery, MsiRoutes } from '../msi.js';
import type { StateWindow } from '../state.js';
import { Bar, type BarKind } from './bar.js';
import { ConfigSpace } from './config-space.js';
import { Msix, pbaSize } from './msix.js';
import * as R from './registers.js';

const CONFIG_WORDS = R.CONFIG_SIZE / 4;
/** Behind the registers: the INTx output, and per BAR the address last given to onBarMoved (low, high) and whether there was one. */
const INTX = CONFIG_WORDS;
const MOVED = INTX + 1;
const MOVED_WORDS = 3;
const MSIX_MASKS = MOVED + R.BAR_COUNT * MOVED_WORDS;
/** The most vectors that one function may have; the state is sized for it. */
export const MAX_MSIX_VECTORS = 128;
const STATE_WORDS = MSIX_MASKS + MAX_MSIX_VECTORS;

/** Who the function says it is. */
export interface PciIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  /** 24 bits: base class, sub-class, programming interface. */
  readonly classCode: number;
  readonly revision?: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
}

/** Where MSI-X goes. Table and PBA become regions of the BAR. */
export interface MsixPlacement {
  readonly vectors: number;
  readonly bar: Bar;
  readonly tableOffset: number;
  readonly pbaOffset: number;
  readonly delivery?: MsiDelivery;
}

export abstract class PciFunction {
  readonly state: StateWindow;
  protected readonly config: ConfigSpace;
  readonly #bars: Bar[] = [];
  #msix: Msix | undefined;
  #msixControl = 0;
  #intx: InterruptLine | undefined;
  #nextCapability = R.FIRST_CAPABILITY;
  #lastLink = R.CAPABILITY_POINTER;

  constructor(
    protected readonly context: DeviceContext,
    readonly name: string,
    identity: PciIdentity,
  ) {
    this.state = context.arena.claim(name, STATE_WORDS);
    this.config = new ConfigSpace(this.state.u8.subarray(0, R.CONFIG_SIZE), context.isOwner);
    const { config } = this;
    config.define(R.VENDOR_ID, 2, identity.vendorId);
    config.define(R.DEVICE_ID, 2, identity.deviceId);
    config.define(R.COMMAND, 2, 0, R.COMMAND_WRITABLE);
    config.define(R.REVISION_ID, 4, (identity.classCode << 8) | (identity.revision ?? 0));
    config.define(R.CACHE_LINE_SIZE, 1, 0, 0xff);
    config.define(R.SUBSYSTEM_VENDOR_ID, 2, identity.subsystemVendorId ?? 0);
    config.define(R.SUBSYSTEM_ID, 2, identity.subsystemId ?? 0);
  }

  // Construction: every thread repeats it; only the owner's values reach the registers.

  /**
   * Declares a BAR; the root gives it an address.
   *
   * @param size bytes, a power of two of at least 16 (memory) or 4 (I/O); an address space of its own starts at 4096
   */
  protected addBar(index: number, size: number, kind: BarKind = 'memory32'): Bar {
    const bar = new Bar(`${this.name} BAR ${index}`, index, size, kind, this.state);
    const offset = R.BAR0 + 4 * index;
    const mask = -size >>> 0;
    const flags = kind === 'io' ? R.BAR_IO : kind === 'memory64' ? R.BAR_MEMORY_64 : 0;
    this.config.define(offset, 4, flags, mask);
    if (kind === 'memory64') this.config.define(offset + 4, 4, 0, 0xffff_ffff);
    this.#bars.push(bar);
    return bar;
  }

  /**
   * Appends a capability to the list.
   *
   * @param body what follows the id and the link byte
   * @param writable as long as `body`: its writable bits; none by default
   * @returns its offset in configuration space
   */
  protected addCapability(id: number, body: Uint8Array, writable?: Uint8Array): number {
    const offset = this.#nextCapability;
    if (offset + 2 + body.length > R.CONFIG_SIZE)
      throw new RangeError(`${this.name}: no room for another capability`);
    const { config } = this;
    config.define(this.#lastLink, 1, offset);
    config.define(offset, 1, id);
    config.define(offset + 1, 1, 0);
    body.forEach((byte, i) => {
      config.define(offset + 2 + i, 1, byte, writable?.[i] ?? 0);
    });
    config.define(R.STATUS, 2, R.STATUS_CAPABILITIES);
    this.#lastLink = offset + 1;
    this.#nextCapability = Math.ceil((offset + 2 + body.length) / 4) * 4;
    return offset;
  }

  /** Adds MSI-X: capability, table and PBA. */
  protected addMsix(routes: MsiRoutes, placement: MsixPlacement): Msix {
    const { vectors, bar, tableOffset, pbaOffset } = placement;
    if (vectors < 1 || vectors > MAX_MSIX_VECTORS)
      throw new RangeError(`${this.name}: ${vectors} MSI-X vectors`);
    const body = new DataView(new ArrayBuffer(R.MSIX_CAPABILITY_SIZE - 2));
    body.setUint16(R.MSIX_CONTROL - 2, vectors - 1, true);
    body.setUint32(R.MSIX_TABLE - 2, tableOffset | bar.index, true);
    body.setUint32(R.MSIX_PBA - 2, pbaOffset | bar.index, true);
    const offset = this.addCapability(R.CAPABILITY_MSIX, new Uint8Array(body.buffer));
    this.#msixControl = offset + R.MSIX_CONTROL;
    const control = R.MSIX_ENABLE | R.MSIX_FUNCTION_MASK;
    this.config.define(this.#msixControl, 2, vectors - 1, control);
    const masks = this.state.u32.subarray(MSIX_MASKS, MSIX_MASKS + vectors);
    const claimed = routes.claim(this.name, vectors, placement.delivery);
    const msix = new Msix(
      claimed,
      masks,
      () => (this.config.get16(this.#msixControl) & control) === R.MSIX_ENABLE,
    );
    if (this.context.isOwner) msix.reset();
    bar.add({ offset: tableOffset, size: vectors * R.MSIX_ENTRY_SIZE, handler: msix.table });
    bar.add({ offset: pbaOffset, size: pbaSize(vectors), handler: msix.pba });
    this.#msix = msix;
    return msix;
  }

  /** The root wires INTA# to `line`. */
  connectIntx(line: InterruptLine): void {
    this.#intx = line;
    this.config.define(R.INTERRUPT_LINE, 1, line.gsi, 0xff);
    this.config.define(R.INTERRUPT_PIN, 1, 1);
  }

  // For the device itself and the root. The function's lock is held.

  get bars(): readonly Bar[] {
    return this.#bars;
  }

  get msix(): Msix | undefined {
    return this.#msix;
  }

  get command(): number {
    return this.config.get16(R.COMMAND);
  }

  /** Whether the driver chose MSI-X; INTx is silent then. */
  get msixEnabled(): boolean {
    return this.#msix !== undefined && (this.config.get16(this.#msixControl) & R.MSIX_ENABLE) !== 0;
  }

  /** Where a BAR points now, decoded or not. Needs no lock: a torn read is a move in progress. */
  barAddress(bar: Bar): number {
    const offset = R.BAR0 + 4 * bar.index;
    const low = this.config.get32(offset);
    if (bar.kind === 'io') return low - (low % 4);
    const high = bar.kind === 'memory64' ? this.config.get32(offset + 4) : 0;
    return low - (low % 16) + high * 2 ** 32;
  }

  /** Whether the function answers in the BAR's address space. Needs no lock. */
  decodes(bar: Bar): boolean {
    return (this.command & (bar.kind === 'io' ? R.COMMAND_IO : R.COMMAND_MEMORY)) !== 0;
  }

  /** Sets a BAR's address as firmware does before the operating system runs. */
  assignBar(bar: Bar, address: number): void {
    if (!this.context.isOwner) return;
    const offset = R.BAR0 + 4 * bar.index;
    const flags = this.config.get32(offset) % (bar.kind === 'io' ? 4 : 16);
    this.config.set(offset, 4, ((address % 2 ** 32) + flags) >>> 0);
    if (bar.kind === 'memory64') this.config.set(offset + 4, 4, Math.floor(address / 2 ** 32));
  }

  /** Drives INTA#: kept in the status register, and on the line unless the driver disabled INTx or uses MSI-X. */
  driveIntx(high: boolean): void {
    this.state.u32[INTX] = high ? 1 : 0;
    const status = this.config.get16(R.STATUS) & ~R.STATUS_INTERRUPT;
    this.config.set(R.STATUS, 2, status | (high ? R.STATUS_INTERRUPT : 0));
    this.#updateIntx();
  }

  #updateIntx(): void {
    const allowed = (this.command & R.COMMAND_INTX_DISABLE) === 0 && !this.msixEnabled;
    this.#intx?.setLevel(allowed && this.state.u32[INTX] !== 0);
  }

  readConfig(offset: number, size: AccessSize): number {
    this.beforeConfigRead(offset, size);
    return this.config.read(offset, size);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    this.config.write(offset, size, value);
    const touches = (start: number, length: number) => offset < start + length && start < offset + size;
    if (touches(R.COMMAND, 2) || touches(R.BAR0, 4 * R.BAR_COUNT)) this.#announceMoves();
    if (this.#msix !== undefined && touches(this.#msixControl, 2)) this.#msix.refresh();
    if (touches(R.COMMAND, 2) || touches(this.#msixControl, 2)) this.#updateIntx();
    this.afterConfigWrite(offset, size);
  }

  /** Reports each BAR that is decoded at another address than the last one reported. */
  #announceMoves(): void {
    const { u32 } = this.state;
    for (const bar of this.#bars) {
      if (!this.decodes(bar)) continue;
      const address = this.barAddress(bar);
      const word = MOVED + bar.index * MOVED_WORDS;
      const known = u32[word + 2] !== 0;
      const previous = known ? u32[word] + u32[word + 1] * 2 ** 32 : undefined;
      if (previous === address) continue;
      u32[word] = address % 2 ** 32;
      u32[word + 1] = Math.floor(address / 2 ** 32);
      u32[word + 2] = 1;
      this.onBarMoved(bar, address, previous);
    }
  }

  // For subclasses.

  /**
   * A BAR became decoded at `address`; the last address reported was `previous` (undefined: none yet). The place to move ioeventfds. The
   * address is the guest's choice: it may lie in RAM or on another device, and two functions may choose the same.
   */
  protected onBarMoved(_bar: Bar, _address: number, _previous: number | undefined): void {}

  /** Called before a guest's read, to fill registers that are computed on demand (virtio's pci_cfg_data). */
  protected beforeConfigRead(_offset: number, _size: AccessSize): void {}

  /** Called after a guest's write has changed the writable bits. */
  protected afterConfigWrite(_offset: number, _size: AccessSize): void {}
}
