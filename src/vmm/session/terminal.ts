/**
 * Joins a terminal or a pipe to a machine's serial console. On a terminal keys go to the guest as they are (raw mode), except for the escape
 * key Ctrl-A: `x` ends the machine, another Ctrl-A sends one, anything else goes through with it. The end of a pipe is sent as Ctrl-D.
 */
import { rawTerminal } from '../../sys/raw-terminal.js';
import type { Machine } from '../machine.js';

const CTRL_A = 0x01;
const QUIT = 'x'.charCodeAt(0);
/** End of transmission: what a terminal's line discipline takes for the end of its input. */
const EOT = 0x04;
/** The serial port's buffer is full: look again after this. */
const RETRY_MS = 5;

/** What reaches the guest, and what is an order to us. Keeps the escape key's state between chunks. */
export class EscapeFilter {
  #armed = false;

  /** @returns the bytes for the guest, and whether the user asked to quit */
  filter(chunk: Uint8Array): { bytes: Uint8Array; quit: boolean } {
    const out: number[] = [];
    for (const byte of chunk) {
      if (this.#armed) {
        this.#armed = false;
        if (byte === QUIT) return { bytes: Uint8Array.from(out), quit: true };
        if (byte !== CTRL_A) out.push(CTRL_A);
        out.push(byte);
      } else if (byte === CTRL_A) this.#armed = true;
      else out.push(byte);
    }
    return { bytes: Uint8Array.from(out), quit: false };
  }
}

type Input = NodeJS.ReadableStream & { isTTY?: boolean; fd?: number };

export interface InputOptions {
  /** The user pressed the escape sequence. */
  onQuit: () => void;
  /**
   * Send Ctrl-D again and again after the end of a pipe, every so many milliseconds. One is lost where it meets a line discipline that
   * nobody reads from yet. For guests that are known to end with their shell: a login prompt would start anew each time.
   */
  repeatEofMs?: number;
  /** Puts the terminal into raw mode until it is disposed. */
  makeRaw?: (fd: number) => Disposable;
}

/** Feeds `input` to the serial console until it is disposed. */
export function attachInput(
  machine: Pick<Machine, 'writeSerial'>,
  input: Input,
  { onQuit, repeatEofMs, makeRaw = rawTerminal }: InputOptions,
): Disposable {
  const filter = input.isTTY === true ? new EscapeFilter() : undefined;
  let pending: Uint8Array = new Uint8Array();
  let timer: NodeJS.Timeout | undefined;
  let repeat: NodeJS.Timeout | undefined;

  const feed = () => {
    timer = undefined;
    pending = pending.subarray(machine.writeSerial(pending));
    if (pending.length === 0) input.resume();
    else timer = setTimeout(feed, RETRY_MS);
  };
  // A pipe's end is the guest's Ctrl-D: a shell that was given its commands through stdin ends, and with it the machine.
  const onEnd = () => {
    onData(Buffer.of(EOT));
    if (repeatEofMs !== undefined) repeat = setInterval(() => onData(Buffer.of(EOT)), repeatEofMs);
  };
  const onData = (chunk: Buffer | string) => {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    const filtered = filter?.filter(bytes) ?? { bytes, quit: false };
    if (filtered.quit) onQuit();
    pending = pending.length === 0 ? filtered.bytes : Buffer.concat([pending, filtered.bytes]);
    if (pending.length === 0) return;
    input.pause();
    if (timer === undefined) feed();
  };
  const raw = input.isTTY === true ? makeRaw(input.fd ?? 0) : undefined;
  input.on('data', onData);
  input.once('end', onEnd);
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      clearInterval(repeat);
      input.off('data', onData);
      input.off('end', onEnd);
      input.pause();
      raw?.[Symbol.dispose]();
    },
  };
}
