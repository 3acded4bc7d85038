/**
 * A 16550A UART (National Semiconductor PC16550D data sheet): all registers, 16-byte FIFOs with trigger levels, every interrupt with its priority,
 * loopback. Characters take no time; line errors and breaks do not occur; OUT2 does not gate the interrupt.
 *
 * Output leaves in bursts: with the FIFO on, bytes are written when 16 have gathered, at a newline, or when the guest looks at any other
 * register, as it must to learn that it may go on. Input waits in a ring in front of the FIFO until the guest is ready for it: it
 * has enabled the interrupt, or, as long as it never did, has raised RTS or never touched the modem control register. So what was typed
 * before a driver starts or between two openings (each empties the FIFO) is not lost.
 */
import { signalEventfd } from '../sys/eventfd.js';
import { ByteRing, ringWords } from './byte-ring.js';
import type { DeviceContext } from './context.js';
import { type AccessSize, type BusDevice, floatingBus, type InterruptLine } from './device.js';
import { OUTPUT_WORDS, SerialOutput } from './serial-output.js';
import * as R from './serial-registers.js';
import type { StateWindow } from './state.js';

export const SERIAL_PORTS = 8;
/** COM1. */
export const COM1 = { port: 0x3f8, gsi: 4 } as const;

const INPUT_CAPACITY = 4096;

/** Words of the state. */
const IER = 0;
const FCR = 1;
const LCR = 2;
const MCR = 3;
const SCR = 4;
const DLL = 5;
const DLM = 6;
/** Sticky error bits of the line status. */
const LINE_ERRORS = 7;
/** Delta bits of the modem status. */
const MODEM_DELTAS = 8;
const THRE_PENDING = 9;
const MCR_WRITTEN = 10;
/** The host has input that did not fit. */
const ROOM_WANTED = 11;
/** The transmitter was seen full: its becoming empty is an event. */
const OUTPUT_WAS_FULL = 12;
/** The guest has received by interrupt: from then on only that opens the receiver. */
const RDI_USED = 13;
const INPUT = 14;
/** What the transmitter sent to the receiver in loopback. */
const LOOPED = INPUT + ringWords(INPUT_CAPACITY);
const OUTPUT = LOOPED + ringWords(R.FIFO_SIZE);
const WORDS = OUTPUT + OUTPUT_WORDS;

/** A terminal is connected: carrier, data set ready, clear to send. */
const CONNECTED = R.MSR_DCD | R.MSR_DSR | R.MSR_CTS;
const DEFAULT_DIVISOR = 12;
const NEWLINE = 0x0a;

export interface SerialOptions {
  readonly line: InterruptLine;
  /** Where output goes; negative discards it. The descriptor stays the caller's. */
  readonly outputFd: number;
  readonly name?: string;
}

export class Serial implements BusDevice {
  readonly name: string;
  readonly state: StateWindow;
  /** An eventfd: signalled when {@link receive} refused bytes and half of the ring is free again. */
  readonly roomFd: number;
  readonly #r: Uint32Array;
  readonly #input: ByteRing;
  readonly #looped: ByteRing;
  readonly #output: SerialOutput;
  readonly #line: InterruptLine;

  constructor(context: DeviceContext, options: SerialOptions) {
    this.name = options.name ?? 'serial port';
    this.state = context.arena.claim(this.name, WORDS);
    this.roomFd = context.eventfds.next(`room in ${this.name}`);
    this.#r = this.state.u32;
    this.#input = new ByteRing(this.state, INPUT, INPUT_CAPACITY);
    this.#looped = new ByteRing(this.state, LOOPED, R.FIFO_SIZE);
    this.#output = new SerialOutput(this.state, OUTPUT, options.outputFd);
    this.#line = options.line;
    if (context.isOwner) this.#r[DLL] = DEFAULT_DIVISOR;
  }

  /**
   * Input from the host. Any thread; takes the lock.
   *
   * @returns how many bytes were accepted; keep the rest until {@link roomFd} is signalled
   */
  receive(bytes: Uint8Array): number {
    return this.state.locked(() => {
      let accepted = 0;
      while (accepted < bytes.length && this.#input.push(bytes[accepted])) accepted++;
      if (accepted < bytes.length) this.#r[ROOM_WANTED] = 1;
      this.#updateInterrupt();
      return accepted;
    });
  }

  /**
   * Writes out what the descriptor did not take before. Any thread; takes the lock. Call it when a descriptor that would block becomes
   * writable, and with `final` when the machine has stopped.
   *
   * @returns how many bytes still wait
   */
  flush(final = false): number {
    return this.state.locked(() => {
      this.#flush(final);
      this.#updateInterrupt();
      return this.#output.length;
    });
  }

  /** Nobody reads what this port says any more: its descriptor broke (EPIPE). */
  get outputBroken(): boolean {
    return this.#output.broken;
  }

  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readByte(offset + i) << (8 * i);
    this.#updateInterrupt();
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    this.#updateInterrupt();
  }

  #readByte(register: number): number {
    const r = this.#r;
    this.#flush();
    switch (register) {
      case R.RBR_THR_DLL:
        return this.#divisorLatch ? r[DLL] : this.#takeInput();
      case R.IER_DLM:
        return this.#divisorLatch ? r[DLM] : r[IER];
      case R.IIR_FCR:
        return this.#identifyInterrupt();
      case R.LCR:
        return r[LCR];
      case R.MCR:
        return r[MCR];
      case R.LSR:
        return this.#lineStatus();
      case R.MSR: {
        const status = this.#modemLines(r[MCR]) | r[MODEM_DELTAS];
        r[MODEM_DELTAS] = 0;
        return status;
      }
      case R.SCR:
        return r[SCR];
      default:
        return floatingBus(1);
    }
  }

  #writeByte(register: number, value: number): void {
    const r = this.#r;
    if (register !== R.RBR_THR_DLL) this.#flush();
    switch (register) {
      case R.RBR_THR_DLL:
        if (this.#divisorLatch) r[DLL] = value;
        else this.#transmit(value);
        break;
      case R.IER_DLM:
        if (this.#divisorLatch) r[DLM] = value;
        else this.#enableInterrupts(value & R.IER_ALL);
        break;
      case R.IIR_FCR:
        this.#controlFifos(value);
        break;
      case R.LCR:
        r[LCR] = value;
        break;
      case R.MCR:
        this.#controlModem(value & R.MCR_ALL);
        break;
      case R.SCR:
        r[SCR] = value;
        break;
      default:
        // LSR and MSR: writing is for factory tests.
        break;
    }
  }

  get #divisorLatch(): boolean {
    return (this.#r[LCR] & R.LCR_DLAB) !== 0;
  }

  get #fifos(): boolean {
    return (this.#r[FCR] & R.FCR_ENABLE) !== 0;
  }

  // Receiver.

  get #loopback(): boolean {
    return (this.#r[MCR] & R.MCR_LOOP) !== 0;
  }

  /** Bytes that the guest can see. */
  get #available(): number {
    const r = this.#r;
    if (this.#loopback) return this.#looped.length;
    const polls = r[RDI_USED] === 0 && (r[MCR_WRITTEN] === 0 || (r[MCR] & R.MCR_RTS) !== 0);
    const ready = polls || (r[IER] & R.IER_RDI) !== 0;
    return ready ? this.#input.length : 0;
  }

  #takeInput(): number {
    if (this.#available === 0) return 0;
    const byte = (this.#loopback ? this.#looped : this.#input).shift() ?? 0;
    this.#signalRoom();
    return byte;
  }

  #signalRoom(): void {
    if (this.#r[ROOM_WANTED] === 0 || this.#input.length > INPUT_CAPACITY / 2) return;
    this.#r[ROOM_WANTED] = 0;
    signalEventfd(this.roomFd);
  }

  #lineStatus(): number {
    const errors = this.#r[LINE_ERRORS];
    this.#r[LINE_ERRORS] = 0;
    if (!this.#canTransmit) this.#output.pause();
    const transmitter = this.#canTransmit ? R.LSR_THRE | R.LSR_TEMT : 0;
    return errors | transmitter | (this.#available > 0 ? R.LSR_DR : 0);
  }

  // Transmitter.

  /** Room for a whole FIFO: a guest that sees THRE may write 16 bytes. */
  get #canTransmit(): boolean {
    return this.#output.room >= R.FIFO_SIZE;
  }

  #transmit(byte: number): void {
    const r = this.#r;
    if (this.#loopback) {
      this.#loopBack(byte);
    } else {
      this.#output.push(byte);
      if (!this.#fifos || byte === NEWLINE || this.#output.length >= R.FIFO_SIZE) this.#flush();
    }
    r[THRE_PENDING] = this.#canTransmit ? 1 : 0;
    r[OUTPUT_WAS_FULL] = this.#canTransmit ? 0 : 1;
  }

  #loopBack(byte: number): void {
    const depth = this.#fifos ? R.FIFO_SIZE : 1;
    if (this.#looped.length >= depth || !this.#looped.push(byte)) this.#r[LINE_ERRORS] |= R.LSR_OE;
  }

  #flush(final = false): void {
    if (this.#output.length === 0) return;
    this.#output.flush(final);
    if (this.#r[OUTPUT_WAS_FULL] !== 0 && this.#canTransmit) {
      this.#r[OUTPUT_WAS_FULL] = 0;
      this.#r[THRE_PENDING] = 1;
    }
  }

  // Control.

  #enableInterrupts(value: number): void {
    const r = this.#r;
    // Enabling the transmitter's interrupt while it is empty raises it: drivers start sending that way and test for it.
    if ((value & ~r[IER] & R.IER_THRI) !== 0 && this.#canTransmit) r[THRE_PENDING] = 1;
    r[IER] = value;
    if ((value & R.IER_RDI) !== 0) r[RDI_USED] = 1;
  }

  #controlFifos(value: number): void {
    const r = this.#r;
    // Switching the FIFOs on or off clears them on the chip too. Here what would be in them is still on the line: Linux does it with the
    // receiver's interrupt enabled, each time a terminal is opened.
    if ((value & R.FCR_CLEAR_RX) !== 0) {
      (this.#loopback ? this.#looped : this.#input).drop(Math.min(this.#available, R.FIFO_SIZE));
      this.#signalRoom();
    }
    // The other bits can be written only together with the enable bit.
    r[FCR] = (value & R.FCR_ENABLE) !== 0 ? value & ~0x06 : 0;
  }

  #controlModem(value: number): void {
    const r = this.#r;
    const before = this.#modemLines(r[MCR]);
    r[MCR] = value;
    r[MCR_WRITTEN] = 1;
    if (!this.#loopback) this.#looped.drop(R.FIFO_SIZE);
    const after = this.#modemLines(value);
    const changed = (before ^ after) >>> 4;
    // RI has a delta only for its trailing edge.
    const ringEnded = (before & ~after & R.MSR_RI) !== 0 ? R.MSR_TERI : 0;
    r[MODEM_DELTAS] |= (changed & ~R.MSR_TERI) | ringEnded;
  }

  /** The modem's lines: the terminal's, or in loopback the UART's own outputs. */
  #modemLines(mcr: number): number {
    if ((mcr & R.MCR_LOOP) === 0) return CONNECTED;
    return (
      ((mcr & R.MCR_RTS) !== 0 ? R.MSR_CTS : 0) |
      ((mcr & R.MCR_DTR) !== 0 ? R.MSR_DSR : 0) |
      ((mcr & R.MCR_OUT1) !== 0 ? R.MSR_RI : 0) |
      ((mcr & R.MCR_OUT2) !== 0 ? R.MSR_DCD : 0)
    );
  }

  // Interrupts.

  /** The pending interrupt of the highest priority. */
  #pendingInterrupt(): number {
    const r = this.#r;
    const enabled = r[IER];
    if ((enabled & R.IER_RLSI) !== 0 && r[LINE_ERRORS] !== 0) return R.IIR_RLS;
    if ((enabled & R.IER_RDI) !== 0) {
      const available = this.#available;
      if (available >= (this.#fifos ? R.RX_TRIGGER[r[FCR] >>> 6] : 1)) return R.IIR_RDA;
      // Characters take no time, so a FIFO below its trigger level has been idle for long enough.
      if (available > 0) return R.IIR_TIMEOUT;
    }
    if ((enabled & R.IER_THRI) !== 0 && r[THRE_PENDING] !== 0) return R.IIR_THRE;
    if ((enabled & R.IER_MSI) !== 0 && r[MODEM_DELTAS] !== 0) return R.IIR_MSI;
    return R.IIR_NONE;
  }

  #identifyInterrupt(): number {
    const pending = this.#pendingInterrupt();
    if (pending === R.IIR_THRE) this.#r[THRE_PENDING] = 0;
    return pending | (this.#fifos ? R.IIR_FIFOS : 0);
  }

  #updateInterrupt(): void {
    this.#line.setLevel(this.#pendingInterrupt() !== R.IIR_NONE);
  }
}
