/**
 * The keyboard controller at ports 0x60 and 0x64 (Intel 8042; IBM PS/2 technical reference): no keyboard, no mouse, only what a
 * probing kernel asks, answered at once, and the reset line. It raises no interrupts. Port 0x61 belongs to KVM's PIT.
 */
import type { DeviceContext } from './context.js';
import { type AccessSize, type BusDevice, floatingBus } from './device.js';
import type { StateWindow } from './state.js';

export const I8042_DATA_PORT = 0x60;
export const I8042_COMMAND_PORT = 0x64;

const STATUS_OUTPUT_FULL = 0x01;
const STATUS_SYSTEM = 0x04;
const STATUS_COMMAND = 0x08;
const STATUS_UNLOCKED = 0x10;
const STATUS_TIMEOUT = 0x40;

const RESET_LINE = 0x01;
const A20_LINE = 0x02;
/** What a device that is not there "answers". */
const RESEND = 0xfe;
const NO_DEVICE = 0xff;
const CLOCK_STUCK_LOW = 0x01;

/** Commands with an answer: command, answer. */
const ANSWERS: ReadonlyMap<number, number> = new Map([
  [0xa9, NO_DEVICE], // test the mouse port
  [0xaa, 0x55], // self test: passed
  [0xab, CLOCK_STUCK_LOW], // test the keyboard port
  [0xc0, 0x80], // input port: keyboard not locked
  [0xd0, RESET_LINE | A20_LINE], // output port
]);
const READ_CONTROL = 0x20;
const WRITE_CONTROL = 0x60;
const WRITE_OUTPUT_PORT = 0xd1;
/** Write to the keyboard's or mouse's output buffer: the byte comes back. */
const LOOP_KEYBOARD = 0xd2;
const LOOP_MOUSE = 0xd3;
const WRITE_MOUSE = 0xd4;
const TAKES_A_BYTE: readonly number[] = [
  WRITE_CONTROL,
  WRITE_OUTPUT_PORT,
  LOOP_KEYBOARD,
  LOOP_MOUSE,
  WRITE_MOUSE,
];
/** 0xF0 to 0xFF pulse the lines whose bit is 0. */
const PULSE = 0xf0;

/** Both devices disabled, keyboard translation on. */
const CONTROL_RESET = 0x70;

/** Words of the state. */
const CONTROL = 0;
const STATUS = 1;
const DATA = 2;
/** The command that waits for its byte, or 0. */
const WAITING = 3;
const WORDS = 4;

/** Two bus devices over one state: {@link data} at 0x60 and {@link command} at 0x64. */
export class I8042 {
  readonly state: StateWindow;
  /** One bus window each, because port 0x61 between them is the PIT's. */
  readonly data: BusDevice;
  readonly command: BusDevice;

  constructor(private readonly context: DeviceContext) {
    this.state = context.arena.claim('i8042', WORDS);
    if (context.isOwner) this.state.u32.set([CONTROL_RESET, STATUS_SYSTEM | STATUS_UNLOCKED]);
    const { state } = this;
    this.data = {
      name: 'i8042 data',
      state,
      read: (_offset, size) => this.#readData(size),
      write: (_offset, _size, value) => this.#writeData(value & 0xff),
    };
    this.command = {
      name: 'i8042 command',
      state,
      read: (_offset, size) => (size === 1 ? state.u32[STATUS] : floatingBus(size)),
      write: (_offset, _size, value) => this.#writeCommand(value & 0xff),
    };
  }

  #readData(size: AccessSize): number {
    if (size !== 1) return floatingBus(size);
    this.state.u32[STATUS] &= ~(STATUS_OUTPUT_FULL | STATUS_TIMEOUT);
    return this.state.u32[DATA];
  }

  #answer(byte: number, flags = 0): void {
    this.state.u32[DATA] = byte;
    this.state.u32[STATUS] |= STATUS_OUTPUT_FULL | flags;
  }

  #writeCommand(command: number): void {
    const { u32 } = this.state;
    u32[STATUS] |= STATUS_COMMAND;
    u32[WAITING] = TAKES_A_BYTE.includes(command) ? command : 0;
    const answer = command === READ_CONTROL ? u32[CONTROL] : ANSWERS.get(command);
    if (answer !== undefined) this.#answer(answer);
    if (command >= PULSE) this.#driveOutputPort(command);
  }

  #writeData(byte: number): void {
    const { u32 } = this.state;
    const command = u32[WAITING];
    u32[WAITING] = 0;
    u32[STATUS] &= ~STATUS_COMMAND;
    switch (command) {
      case WRITE_CONTROL:
        u32[CONTROL] = byte;
        break;
      case WRITE_OUTPUT_PORT:
        this.#driveOutputPort(byte);
        break;
      case LOOP_KEYBOARD:
      case LOOP_MOUSE:
        // Without the mouse bit in the status, which tells a driver that there is no mouse port.
        this.#answer(byte);
        break;
      default:
        this.#answer(RESEND, STATUS_TIMEOUT);
    }
  }

  #driveOutputPort(lines: number): void {
    if ((lines & RESET_LINE) === 0) this.context.request('reset');
  }
}
