import { expect, test } from 'vitest';
import { I8042 } from './i8042.js';
import { read, testContext, write } from './testing.js';

const OUTPUT_FULL = 0x01;
const INPUT_FULL = 0x02;

function controller() {
  const context = testContext();
  const { data, command } = new I8042(context);
  return {
    context,
    status: () => read(command, 0),
    data: () => read(data, 0),
    send: (value: number) => write(data, 0, value),
    command: (value: number) => write(command, 0, value),
  };
}

test('it is ready at once and holds nothing to flush', () => {
  expect(controller().status() & (OUTPUT_FULL | INPUT_FULL)).toBe(0);
});

test.each([
  ['the self test passes', 0xaa, 0x55],
  ['there is no keyboard', 0xab, 0x01],
  ['there is no mouse', 0xa9, 0xff],
  ['A20 is on and reset is not asserted', 0xd0, 0x03],
])('%s', (_what, command, answer) => {
  const port = controller();
  port.command(command);
  expect(port.status() & OUTPUT_FULL).toBe(OUTPUT_FULL);
  expect(port.data()).toBe(answer);
  expect(port.status() & OUTPUT_FULL).toBe(0);
});

test('the control byte reads back as written', () => {
  const port = controller();
  port.command(0x60);
  port.send(0x45);
  port.command(0x20);
  expect(port.data()).toBe(0x45);
});

test('a byte to the keyboard is answered with a time-out instead of silence', () => {
  const port = controller();
  port.send(0xf2);
  expect(port.status() & 0x41).toBe(0x41);
  expect(port.data()).toBe(0xfe);
});

test('a looped mouse byte comes back without the mouse bit, which tells a driver that there is none', () => {
  const port = controller();
  port.command(0xd3);
  port.send(0x5a);
  expect(port.status() & 0x21).toBe(0x01);
  expect(port.data()).toBe(0x5a);
});

test('command 0xFE and the output port’s bit 0 reset the machine; other pulses do not', () => {
  const port = controller();
  port.command(0xff);
  port.command(0xd1);
  port.send(0x03);
  expect(port.context.requests).toEqual([]);
  port.command(0xfe);
  port.command(0xd1);
  port.send(0x02);
  expect(port.context.requests).toEqual(['reset', 'reset']);
});

test('every command and byte, in any width, leaves it ready for the next', () => {
  const context = testContext();
  const { data, command } = new I8042(context);
  for (let value = 0; value < 256; value++) {
    for (const size of [1, 2, 4] as const) {
      write(command, 0, value, size);
      write(data, 0, value, size);
      for (const device of [command, data]) {
        const result = read(device, 0, size);
        expect(result >= 0 && result < 2 ** (8 * size)).toBe(true);
      }
      expect(read(command, 0) & INPUT_FULL).toBe(0);
    }
  }
});
