/**
 * The MC146818 real-time clock and its CMOS memory behind ports 0x70 (index) and 0x71 (data) (Motorola MC146818A data sheet). Time is the
 * host's in UTC plus an offset that the guest makes by setting the clock. Alarm, periodic and update-ended interrupts are not
 * generated: their registers hold what is written, register C reads 0. Kernels take the time once and keep their own.
 */
import type { DeviceContext } from './context.js';
import { type AccessSize, type BusDevice, floatingBus } from './device.js';
import type { StateWindow } from './state.js';

export const RTC_PORT = 0x70;
export const RTC_PORTS = 2;

/** Registers (data sheet, figure 13); the century's place is the PC's and is named in the FADT. */
const SECONDS = 0x00;
const MINUTES = 0x02;
const HOURS = 0x04;
const DAY_OF_WEEK = 0x06;
const DAY_OF_MONTH = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const A = 0x0a;
const B = 0x0b;
const C = 0x0c;
const D = 0x0d;
export const CENTURY = 0x32;
const TIME_REGISTERS = [SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY_OF_MONTH, MONTH, YEAR, CENTURY] as const;

const A_UIP = 0x80;
/** Divider for 32.768 kHz, rate 1024 Hz. */
const A_RESET = 0x26;
const B_SET = 0x80;
const B_BINARY = 0x04;
const B_24H = 0x02;
const D_VALID = 0x80;
const PM = 0x80;

/** The chip needs this long for an update, and says so with UIP 244 µs before (data sheet, table 5: 1984 µs at 32.768 kHz). */
const UPDATE_MS = 2.228;
/** After it saw UIP clear, a guest reads one consistent time for this long, however slow its exits are. */
const LATCH_MS = 50;

/** State: 128 bytes of CMOS, then the index, the offset in milliseconds and the latched time (doubles). */
const CMOS_SIZE = 128;
const INDEX = CMOS_SIZE;
const OFFSET = INDEX + 4;
const LATCHED = OFFSET + 8;
const LATCHED_AT = LATCHED + 8;
const WORDS = (LATCHED_AT + 8) / 4;

export class Rtc implements BusDevice {
  readonly name = 'RTC';
  readonly state: StateWindow;
  readonly #cmos: Uint8Array;
  readonly #view: DataView;

  /** @param now the host's time, milliseconds since 1970 (UTC) */
  constructor(
    context: DeviceContext,
    private readonly now: () => number = Date.now,
  ) {
    this.state = context.arena.claim(this.name, WORDS);
    const { u8 } = this.state;
    this.#cmos = u8.subarray(0, CMOS_SIZE);
    this.#view = new DataView(u8.buffer, u8.byteOffset, u8.byteLength);
    if (!context.isOwner) return;
    this.#cmos[A] = A_RESET;
    this.#cmos[B] = B_24H;
  }

  /** What the guest's clock shows, milliseconds since 1970. */
  #guestTime(): number {
    return this.now() + this.#view.getFloat64(OFFSET, true);
  }

  read(offset: number, size: AccessSize): number {
    // The index is write-only. A wider access reaches the data port too; no driver makes one.
    if (size === 1) return offset === 1 ? this.#readRegister(this.#view.getUint8(INDEX)) : floatingBus(1);
    return floatingBus(size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) {
      const byte = (value >>> (8 * i)) & 0xff;
      // Bit 7 of the index port masks NMIs, of which there are none.
      if (offset + i === 0) this.#view.setUint8(INDEX, byte & 0x7f);
      else if (offset + i === 1) this.#writeRegister(this.#view.getUint8(INDEX), byte);
    }
  }

  #isTime(register: number): boolean {
    return TIME_REGISTERS.some((time) => time === register);
  }

  get #stopped(): boolean {
    return (this.#cmos[B] & B_SET) !== 0;
  }

  #readRegister(register: number): number {
    if (register === A) return this.#readA();
    if (register === C) return 0;
    if (register === D) return D_VALID;
    if (this.#isTime(register) && !this.#stopped) this.#showTime(this.#latchedTime());
    return this.#cmos[register];
  }

  #readA(): number {
    const time = this.#guestTime();
    if (!this.#stopped && 1000 - (((time % 1000) + 1000) % 1000) <= UPDATE_MS) return this.#cmos[A] | A_UIP;
    this.#view.setFloat64(LATCHED, time, true);
    this.#view.setFloat64(LATCHED_AT, this.now(), true);
    return this.#cmos[A];
  }

  #latchedTime(): number {
    const age = this.now() - this.#view.getFloat64(LATCHED_AT, true);
    return age >= 0 && age < LATCH_MS ? this.#view.getFloat64(LATCHED, true) : this.#guestTime();
  }

  #writeRegister(register: number, value: number): void {
    const cmos = this.#cmos;
    if (register === A) cmos[A] = value & ~A_UIP;
    else if (register === B) this.#writeB(value);
    else if (register === C || register === D) return;
    else if (this.#isTime(register) && !this.#stopped) {
      this.#showTime(this.#guestTime());
      cmos[register] = value;
      this.#takeTime();
    } else cmos[register] = value;
  }

  #writeB(value: number): void {
    const cmos = this.#cmos;
    const starting = this.#stopped && (value & B_SET) === 0;
    if (!this.#stopped && (value & B_SET) !== 0) this.#showTime(this.#guestTime());
    // The registers are in the format of the old value: a guest changes format first, then the time.
    if (starting) this.#takeTime();
    cmos[B] = value;
  }

  #encode(value: number): number {
    const binary = (this.#cmos[B] & B_BINARY) !== 0;
    return binary ? value : Math.floor(value / 10) * 16 + (value % 10);
  }

  #decode(value: number): number {
    const binary = (this.#cmos[B] & B_BINARY) !== 0;
    return binary ? value : (value >> 4) * 10 + (value & 0x0f);
  }

  /** Fills the time registers. */
  #showTime(time: number): void {
    const date = new Date(time);
    const hour = date.getUTCHours();
    const cmos = this.#cmos;
    cmos[SECONDS] = this.#encode(date.getUTCSeconds());
    cmos[MINUTES] = this.#encode(date.getUTCMinutes());
    if ((cmos[B] & B_24H) !== 0) cmos[HOURS] = this.#encode(hour);
    else cmos[HOURS] = this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? PM : 0);
    cmos[DAY_OF_WEEK] = this.#encode(date.getUTCDay() + 1);
    cmos[DAY_OF_MONTH] = this.#encode(date.getUTCDate());
    cmos[MONTH] = this.#encode(date.getUTCMonth() + 1);
    cmos[YEAR] = this.#encode(date.getUTCFullYear() % 100);
    cmos[CENTURY] = this.#encode(Math.floor(date.getUTCFullYear() / 100) % 100);
  }

  /** Makes the registers the guest's time. Fields out of range carry over, as in a calendar; there is no invalid value. */
  #takeTime(): void {
    const cmos = this.#cmos;
    const century = this.#decode(cmos[CENTURY]);
    const year = century * 100 + this.#decode(cmos[YEAR]);
    const month = this.#decode(cmos[MONTH]) - 1;
    const date = new Date(0);
    date.setUTCFullYear(year, month, this.#decode(cmos[DAY_OF_MONTH]));
    date.setUTCHours(this.#hour(), this.#decode(cmos[MINUTES]), this.#decode(cmos[SECONDS]));
    this.#view.setFloat64(OFFSET, date.getTime() - this.now(), true);
    this.#view.setFloat64(LATCHED_AT, 0, true);
  }

  #hour(): number {
    const raw = this.#cmos[HOURS];
    if ((this.#cmos[B] & B_24H) !== 0) return this.#decode(raw);
    return (this.#decode(raw & ~PM) % 12) + ((raw & PM) !== 0 ? 12 : 0);
  }
}
