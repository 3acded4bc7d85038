import { expect, test } from 'vitest';
import { TestMachine } from './driver-model.js';
import { EchoDevice } from './echo-device.js';

const BASE = 0xd000_0000;

function fixture() {
  return new TestMachine({ device: (context) => new EchoDevice(context) });
}

test('the window shows magic, version 2 and the device id', () => {
  using machine = fixture();
  expect([0, 4, 8].map((offset) => machine.mmio.read(BASE + offset, 4))).toEqual([0x7472_6976, 2, 63]);
});

test('each queue has an ioeventfd at QueueNotify for its own number, and the GSI an irqfd', () => {
  using machine = fixture();
  expect(machine.vm.ioeventfds).toEqual(
    machine.device.kicks.map((fd, index) => ({ fd, address: BASE + 0x50, length: 4, datamatch: index })),
  );
  expect([...machine.vm.irqfds.keys()]).toEqual([5]);
});

test('registers answer only aligned accesses of 32 bits', () => {
  using machine = fixture();
  expect(machine.mmio.read(BASE, 1)).toBe(0);
  expect(machine.mmio.read(BASE + 2, 4)).toBe(0);
  machine.mmio.write(BASE + 0x70, 1, 1);
  expect(machine.driver.status).toBe(0);
});

test('an interrupt that was not acknowledged does not hide the next one', () => {
  using machine = fixture();
  const [ring] = machine.initialise();
  for (let round = 0; round < 2; round++) {
    ring.enableInterrupts();
    ring.add([{ gpa: 0x8000, length: 1, write: true }]);
    machine.driver.notify(0);
    machine.pump();
    // Each event makes an edge of its own, whether or not the ISR bit was already set.
    expect(machine.driver.takeInterrupt(0)).toBe(true);
    ring.takeUsed();
    machine.device.raiseIsr(1);
  }
});

test('no shared memory region exists', () => {
  using machine = fixture();
  expect([0xb0, 0xb4, 0xb8, 0xbc].map((offset) => machine.mmio.read(BASE + offset, 4))).toEqual(
    Array(4).fill(0xffff_ffff),
  );
});
