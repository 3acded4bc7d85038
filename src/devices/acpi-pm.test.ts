import { expect, test } from 'vitest';
import { AcpiPm } from './acpi-pm.js';
import { DelayPort } from './delay-port.js';
import { ResetControl, SystemControlA } from './reset.js';
import { read, testContext, write } from './testing.js';

test('SLP_EN with S5 powers off; any other value of the sleep control register does not', () => {
  const context = testContext();
  const pm = new AcpiPm(context);
  for (let value = 0; value < 256; value++) if ((value & 0x3c) !== 0x34) write(pm, 0, value);
  expect(context.requests).toEqual([]);
  write(pm, 0, 0x34);
  expect(context.requests).toEqual(['poweroff']);
});

test('the reset register resets on its value only', () => {
  const context = testContext();
  const pm = new AcpiPm(context);
  for (let value = 0; value < 256; value++) if (value !== 1) write(pm, 2, value);
  expect(context.requests).toEqual([]);
  write(pm, 2, 1);
  expect(context.requests).toEqual(['reset']);
});

test('the sleep status register can be cleared and reads 0', () => {
  const context = testContext();
  const pm = new AcpiPm(context);
  write(pm, 1, 0x80);
  expect(read(pm, 1)).toBe(0);
  expect(context.requests).toEqual([]);
});

test('the reset control register resets on RST_CPU and keeps its other bits', () => {
  const context = testContext();
  const port = new ResetControl(context);
  write(port, 0, 0x0a);
  expect(read(port, 0)).toBe(0x0a);
  expect(context.requests).toEqual([]);
  write(port, 0, 0x06);
  expect(context.requests).toEqual(['reset']);
});

test('system control port A resets on bit 0; A20 is always on', () => {
  const context = testContext();
  const port = new SystemControlA(context);
  write(port, 0, 0x00);
  expect(read(port, 0)).toBe(0x02);
  expect(context.requests).toEqual([]);
  write(port, 0, 0x03);
  expect(context.requests).toEqual(['reset']);
});

test('the delay port keeps the last code', () => {
  const port = new DelayPort(testContext());
  write(port, 0, 0xff);
  write(port, 0, 0x42);
  expect(read(port, 0)).toBe(0x42);
});
