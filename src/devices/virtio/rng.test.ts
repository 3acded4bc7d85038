import { expect, test } from 'vitest';
import { TestMachine, TRANSPORTS } from './driver-model.js';
import { VirtioRng } from './rng.js';

test.each(TRANSPORTS)('fills the buffers of a driver over %s and interrupts', (transport) => {
  using machine = new TestMachine({ transport, device: (context) => new VirtioRng(context) });
  const [ring] = machine.initialise();
  const gpa = machine.allocator.take(64);
  ring.enableInterrupts();
  const head = ring.add([
    { gpa, length: 40, write: true },
    { gpa: gpa + 40, length: 24, write: true },
  ]);
  machine.driver.notify(0);
  machine.pump();
  expect(machine.driver.takeInterrupt(0)).toBe(true);
  expect(ring.takeUsed()).toEqual({ head, written: 64 });
  expect(new Set(machine.ram.bytes(gpa, 64)).size).toBeGreaterThan(8);
  expect(machine.failures).toEqual([]);
});

test('gives at most 4096 bytes for one request, however large its buffer is', () => {
  using machine = new TestMachine({ device: (context) => new VirtioRng(context) });
  const [ring] = machine.initialise();
  const gpa = machine.allocator.take(65536);
  ring.add([{ gpa, length: 65536, write: true }]);
  machine.driver.notify(0);
  machine.pump();
  expect(ring.takeUsed()?.written).toBe(4096);
  expect(machine.ram.bytes(gpa + 4096, 4096).every((byte) => byte === 0)).toBe(true);
});

test('answers a request without writable buffers with nothing', () => {
  using machine = new TestMachine({ device: (context) => new VirtioRng(context) });
  const [ring] = machine.initialise();
  ring.add([{ gpa: machine.allocator.take(16), length: 16, write: false }]);
  machine.driver.notify(0);
  machine.pump();
  expect(ring.takeUsed()?.written).toBe(0);
});
