import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createEventfd, drainEventfd } from '../sys/eventfd.js';
import type { AccessSize } from './device.js';
import { Serial } from './serial.js';
import * as R from './serial-registers.js';
import { read, TestLine, testContext, write } from './testing.js';

let folder = '';
let outputFd = -1;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tvmm-serial-'));
  outputFd = openSync(join(folder, 'output'), 'w');
});

afterEach(() => {
  closeSync(outputFd);
  rmSync(folder, { recursive: true, force: true });
});

/** A FIFO whose writing end refuses (EAGAIN) what it has no room for. */
function nonBlockingPipe(path: string) {
  execFileSync('mkfifo', [path]);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const buffer = Buffer.alloc(2 ** 20);
  return {
    fd,
    drain: () => {
      const chunks: Buffer[] = [];
      try {
        for (;;) chunks.push(Buffer.from(buffer.subarray(0, readSync(fd, buffer))));
      } catch {
        return Buffer.concat(chunks);
      }
    },
    close: () => closeSync(fd),
  };
}

const output = () => readFileSync(join(folder, 'output'), 'latin1');

function uart(options: { fd?: number; context?: ReturnType<typeof testContext> } = {}) {
  const line = new TestLine();
  const serial = new Serial(options.context ?? testContext(), { line, outputFd: options.fd ?? outputFd });
  return {
    serial,
    line,
    in: (register: number) => read(serial, register),
    out: (register: number, value: number) => write(serial, register, value),
    send: (text: string) => {
      for (const byte of Buffer.from(text, 'latin1')) write(serial, R.RBR_THR_DLL, byte);
    },
    receive: (text: string) => serial.receive(Buffer.from(text, 'latin1')),
  };
}

const FIFO = R.FCR_ENABLE | 0x80; // trigger at 8, as Linux sets it

test('after reset the transmitter is empty, nothing is pending and a terminal is connected', () => {
  const port = uart();
  expect([port.in(R.IER_DLM), port.in(R.IIR_FCR), port.in(R.LCR), port.in(R.MCR)]).toEqual([0, 1, 0, 0]);
  expect(port.in(R.LSR)).toBe(R.LSR_THRE | R.LSR_TEMT);
  expect(port.in(R.MSR)).toBe(0xb0);
  expect(port.line.level).toBe(false);
});

test('the divisor latch hides data and interrupt enable', () => {
  const port = uart();
  port.out(R.IER_DLM, 0x05);
  port.out(R.LCR, R.LCR_DLAB | 3);
  port.out(R.RBR_THR_DLL, 0x12);
  port.out(R.IER_DLM, 0x34);
  expect([port.in(R.RBR_THR_DLL), port.in(R.IER_DLM)]).toEqual([0x12, 0x34]);
  port.out(R.LCR, 3);
  expect(port.in(R.IER_DLM)).toBe(0x05);
  expect(output()).toBe('');
});

test('the scratch register keeps its byte', () => {
  const port = uart();
  port.out(R.SCR, 0xa5);
  expect(port.in(R.SCR)).toBe(0xa5);
});

test('Linux takes it for a 16550A', () => {
  const port = uart();
  // drivers/tty/serial/8250/8250_port.c: the interrupt enable register holds four bits…
  port.out(R.IER_DLM, 0);
  expect(port.in(R.IER_DLM) & 0x0f).toBe(0);
  port.out(R.IER_DLM, 0x0f);
  expect(port.in(R.IER_DLM) & 0x0f).toBe(0x0f);
  port.out(R.IER_DLM, 0xff);
  expect(port.in(R.IER_DLM) & 0xf0, 'no sleep mode').toBe(0);
  port.out(R.IER_DLM, 0);
  // …loopback connects RTS to CTS and OUT2 to DCD…
  port.out(R.MCR, R.MCR_LOOP | 0x0a);
  expect(port.in(R.MSR) & 0xf0).toBe(0x90);
  port.out(R.MCR, 0);
  // …the FIFOs report themselves, and there is no 64-byte mode.
  port.out(R.LCR, 0xbf);
  port.out(R.IIR_FCR, 0);
  port.out(R.LCR, 0);
  port.out(R.IIR_FCR, R.FCR_ENABLE);
  expect(port.in(R.IIR_FCR) >> 6).toBe(3);
  port.out(R.LCR, R.LCR_DLAB);
  port.out(R.IIR_FCR, R.FCR_ENABLE | 0x20);
  expect(port.in(R.IIR_FCR) >> 5).toBe(6);
});

test('enabling the transmitter interrupt raises it each time, as Linux tests', () => {
  const port = uart();
  for (let round = 0; round < 2; round++) {
    port.out(R.IER_DLM, R.IER_THRI);
    expect(port.line.level).toBe(true);
    expect(port.in(R.IIR_FCR)).toBe(R.IIR_THRE);
    expect(port.line.level, 'reading it takes it back').toBe(false);
    expect(port.in(R.IIR_FCR)).toBe(R.IIR_NONE);
    port.out(R.IER_DLM, 0);
  }
});

test('each burst raises the transmitter interrupt again', () => {
  const port = uart();
  port.out(R.IIR_FCR, FIFO);
  port.out(R.IER_DLM, R.IER_THRI);
  port.in(R.IIR_FCR);
  const before = port.line.rises;
  port.send('sixteen bytes...');
  expect(port.line.rises).toBe(before + 1);
  expect(port.in(R.IIR_FCR) & 0x0f).toBe(R.IIR_THRE);
  expect(output()).toBe('sixteen bytes...');
});

test('without FIFOs every byte leaves at once', () => {
  const port = uart();
  port.send('a');
  expect(output()).toBe('a');
});

test('with FIFOs bytes leave at a newline, at the sixteenth, and when the guest looks at another register', () => {
  const port = uart();
  port.out(R.IIR_FCR, FIFO);
  port.send('# ');
  expect(output()).toBe('');
  expect(port.in(R.LSR)).toBe(R.LSR_THRE | R.LSR_TEMT);
  expect(output()).toBe('# ');
  port.send('line\n');
  expect(output()).toBe('# line\n');
  port.send('0123456789abcdef');
  expect(output()).toBe('# line\n0123456789abcdef');
  port.send('end');
  port.serial.flush(true);
  expect(output()).toMatch(/end$/);
});

test('received bytes raise the interrupt at the trigger level, and the time-out interrupt below it', () => {
  const port = uart();
  port.out(R.IIR_FCR, FIFO);
  port.out(R.IER_DLM, R.IER_RDI);
  port.receive('abc');
  expect(port.line.level).toBe(true);
  expect(port.in(R.IIR_FCR)).toBe(R.IIR_FIFOS | R.IIR_TIMEOUT);
  port.receive('defgh');
  expect(port.in(R.IIR_FCR)).toBe(R.IIR_FIFOS | R.IIR_RDA);
  let text = '';
  while ((port.in(R.LSR) & R.LSR_DR) !== 0) text += String.fromCharCode(port.in(R.RBR_THR_DLL));
  expect(text).toBe('abcdefgh');
  expect(port.line.level).toBe(false);
});

test('interrupts are reported by priority: line status, received data, transmitter, modem', () => {
  const port = uart();
  port.out(R.IIR_FCR, R.FCR_ENABLE);
  port.out(R.MCR, R.MCR_LOOP | R.MCR_RTS);
  for (let i = 0; i <= R.FIFO_SIZE; i++) port.out(R.RBR_THR_DLL, i);
  port.out(R.IER_DLM, R.IER_ALL);
  const seen: number[] = [];
  seen.push(port.in(R.IIR_FCR) & 0x0f);
  expect(port.in(R.LSR) & R.LSR_OE, 'the seventeenth byte is an overrun').toBe(R.LSR_OE);
  seen.push(port.in(R.IIR_FCR) & 0x0f);
  while ((port.in(R.LSR) & R.LSR_DR) !== 0) port.in(R.RBR_THR_DLL);
  seen.push(port.in(R.IIR_FCR) & 0x0f);
  seen.push(port.in(R.IIR_FCR) & 0x0f);
  expect(port.in(R.MSR) & 0x0f, 'DSR and DCD fell').toBe(0x0a);
  seen.push(port.in(R.IIR_FCR) & 0x0f);
  expect(seen).toEqual([R.IIR_RLS, R.IIR_RDA, R.IIR_THRE, R.IIR_MSI, R.IIR_NONE]);
  expect(output(), 'loopback disconnects the wire').toBe('');
});

test('input that arrives before the driver is ready survives its probing and FIFO resets', () => {
  const port = uart();
  port.receive('typed early');
  port.out(R.MCR, 0);
  expect(port.in(R.LSR) & R.LSR_DR, 'held back').toBe(0);
  port.out(R.IIR_FCR, R.FCR_ENABLE | 0x06);
  port.out(R.IIR_FCR, 0);
  port.in(R.RBR_THR_DLL);
  port.out(R.IIR_FCR, FIFO);
  port.out(R.IER_DLM, R.IER_RDI | R.IER_RLSI);
  expect(port.line.level).toBe(true);
  let text = '';
  while ((port.in(R.LSR) & R.LSR_DR) !== 0) text += String.fromCharCode(port.in(R.RBR_THR_DLL));
  expect(text).toBe('typed early');
});

test('a guest that never programs the port can poll its input', () => {
  const port = uart();
  port.receive('x');
  expect(port.in(R.LSR) & R.LSR_DR).toBe(R.LSR_DR);
  expect(port.in(R.RBR_THR_DLL)).toBe(0x78);
});

test('clearing the receive FIFO drops at most sixteen bytes', () => {
  const port = uart();
  port.out(R.IIR_FCR, FIFO);
  port.receive('0123456789abcdefG');
  port.out(R.IIR_FCR, FIFO | R.FCR_CLEAR_RX);
  expect(port.in(R.RBR_THR_DLL)).toBe('G'.charCodeAt(0));
});

test('100 KiB of pasted input arrive whole through refusals and the room signal', () => {
  using room = createEventfd('room');
  const context = { ...testContext(), eventfds: { next: () => room.fd } };
  const line = new TestLine();
  const serial = new Serial(context, { line, outputFd: -1 });
  const pasted = Uint8Array.from({ length: 100 * 1024 }, (_, i) => (i * 7) & 0xff);
  const arrived: number[] = [];
  let sent = serial.receive(pasted);
  expect(sent).toBeLessThan(pasted.length);
  write(serial, R.IER_DLM, R.IER_RDI);
  while (line.level) {
    arrived.push(read(serial, R.RBR_THR_DLL));
    if (drainEventfd(room.fd)) sent += serial.receive(pasted.subarray(sent));
  }
  expect(sent).toBe(pasted.length);
  expect(Buffer.from(arrived).equals(Buffer.from(pasted))).toBe(true);
});

test('a closed output loses its bytes and nothing else', () => {
  const port = uart({ fd: 0x4000_0000 });
  port.send('gone');
  expect(port.in(R.LSR)).toBe(R.LSR_THRE | R.LSR_TEMT);
  expect(port.serial.flush(true)).toBe(0);
});

test('an output that would block keeps the bytes, stops the transmitter when full, and goes on later', () => {
  const pipe = nonBlockingPipe(join(folder, 'fifo'));
  try {
    const port = uart({ fd: pipe.fd });
    port.out(R.IER_DLM, R.IER_THRI);
    let sent = 0;
    while ((port.in(R.LSR) & R.LSR_THRE) !== 0 && sent < 2 ** 20) {
      port.out(R.RBR_THR_DLL, sent & 0xff);
      sent++;
    }
    expect(sent).toBeLessThan(2 ** 20);
    port.in(R.IIR_FCR);
    expect(port.line.level).toBe(false);

    const arrived: Buffer[] = [];
    do arrived.push(pipe.drain());
    while (port.serial.flush() > 0);
    arrived.push(pipe.drain());
    expect(port.line.level, 'the transmitter is empty again').toBe(true);
    const expected = Buffer.from(Array.from({ length: sent }, (_, i) => i & 0xff));
    expect(Buffer.concat(arrived).equals(expected)).toBe(true);
  } finally {
    pipe.close();
  }
});

test('a second thread sees and continues the same port', () => {
  const context = testContext();
  const first = uart({ context });
  first.out(R.SCR, 0x77);
  first.receive('z');
  const second = uart({ context: testContext({ buffer: context.arena.buffer, isOwner: false }) });
  expect(second.in(R.SCR)).toBe(0x77);
  expect(second.in(R.RBR_THR_DLL)).toBe(0x7a);
  expect(first.in(R.LSR) & R.LSR_DR).toBe(0);
});

test('no sequence of accesses throws, or reads a value wider than the access', () => {
  const size = fc.constantFrom<AccessSize>(1, 2, 4);
  const access = fc.record({
    kind: fc.constantFrom('read', 'write', 'receive'),
    offset: fc.nat(7),
    size,
    value: fc.nat(0xffff_ffff),
  });
  fc.assert(
    fc.property(fc.array(access, { maxLength: 300 }), (accesses) => {
      const { serial } = uart({ fd: -1 });
      for (const { kind, offset, size, value } of accesses) {
        if (kind === 'receive') serial.receive(new Uint8Array(value % 6000));
        else if (kind === 'write') write(serial, offset, size === 4 ? value : value % 2 ** (8 * size), size);
        else {
          const result = read(serial, offset, size);
          expect(Number.isInteger(result) && result >= 0 && result < 2 ** (8 * size)).toBe(true);
        }
      }
    }),
  );
});
