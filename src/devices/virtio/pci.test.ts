import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PCI_ECAM } from '../../memory/layout.js';
import type { AccessSize } from '../device.js';
import { TestMachine, type TransportKind } from './driver-model.js';
import { EchoDevice } from './echo-device.js';

const SLOT = PCI_ECAM.base + 8 * 4096;
const BAR0 = 0x10;
const COMMAND = 0x04;

class Fixture extends TestMachine<EchoDevice> {
  constructor(transport: TransportKind = 'pci') {
    super({ transport, device: (context) => new EchoDevice(context) });
  }
  config(offset: number, size: AccessSize): number {
    return this.mmio.read(SLOT + offset, size);
  }
  setConfig(offset: number, size: AccessSize, value: number): void {
    this.mmio.write(SLOT + offset, size, value);
  }
  /** The virtio capability of a cfg_type. */
  capability(type: number): number {
    for (let at = this.config(0x34, 1); at !== 0; at = this.config(at + 1, 1)) {
      if (this.config(at, 1) === 9 && this.config(at + 3, 1) === type) return at;
    }
    throw new Error(`no capability of type ${type}`);
  }
  get bar(): number {
    return (this.config(BAR0, 4) & ~0xf) >>> 0;
  }
}

test('the function is a modern virtio device with the five structures and MSI-X', () => {
  using machine = new Fixture();
  expect(machine.config(0x00, 4)).toBe(0x107f_1af4);
  expect(machine.config(0x08, 1)).toBeGreaterThanOrEqual(1);
  const lengths = [1, 2, 3, 4, 5].map((type) => machine.config(machine.capability(type) + 2, 1));
  expect(lengths).toEqual([16, 20, 16, 16, 20]);
  expect(machine.config(machine.capability(2) + 16, 4)).toBe(4);
});

test('each queue has an ioeventfd at its notify address, which moves with the BAR', () => {
  using machine = new Fixture();
  const notify = machine.config(machine.capability(2) + 8, 4);
  const addresses = () => machine.vm.ioeventfds.map(({ address, fd, length }) => ({ address, fd, length }));
  const expected = (bar: number) =>
    machine.device.kicks.map((fd, index) => ({ address: bar + notify + 4 * index, fd, length: 0 }));
  expect(addresses()).toEqual(expected(machine.bar));
  machine.setConfig(COMMAND, 2, 0);
  machine.setConfig(BAR0, 4, 0xc800_0000);
  machine.setConfig(COMMAND, 2, 6);
  expect(machine.bar).toBe(0xc800_0000);
  expect(addresses()).toEqual(expected(0xc800_0000));
});

test('a kick works as an exit where KVM refuses the ioeventfd', () => {
  using machine = new Fixture();
  machine.vm.ioeventfds.length = 0;
  const [, ring] = machine.initialise();
  ring.add([{ gpa: 0x8000, length: 1, write: true }]);
  machine.driver.notify(1);
  machine.pump();
  expect(machine.device.served).toEqual([0, 1]);
});

test('a vector that the function does not have reads back as none', () => {
  using machine = new Fixture();
  const common = machine.bar + machine.config(machine.capability(1) + 8, 4);
  for (const [vector, expected] of [
    [2, 2],
    [3, 0xffff],
    [0, 0],
    [0xffff, 0xffff],
  ]) {
    machine.mmio.write(common + 0x10, 2, vector);
    expect(machine.mmio.read(common + 0x10, 2)).toBe(expected);
    machine.mmio.write(common + 0x1a, 2, vector);
    expect(machine.mmio.read(common + 0x1a, 2)).toBe(expected);
  }
});

test('the configuration access capability reaches the registers without the BAR', () => {
  using machine = new Fixture();
  const window = machine.capability(5);
  const access = (offset: number, length: number) => {
    machine.setConfig(window + 4, 1, 0);
    machine.setConfig(window + 8, 4, offset);
    machine.setConfig(window + 12, 4, length);
  };
  access(0x12, 2);
  expect(machine.config(window + 16, 2)).toBe(2);
  access(0x14, 1);
  machine.setConfig(window + 16, 1, 1);
  expect(machine.config(window + 16, 1)).toBe(1);
  expect(machine.driver.status).toBe(1);
  for (const [offset, length] of [
    [0x13, 2],
    [0x10, 3],
    [0x4000, 4],
    [0xffff_fffc, 4],
  ]) {
    access(offset, length);
    machine.setConfig(window + 16, 4, 0xffff_ffff);
    expect(machine.config(window + 16, 4)).toBe(0xffff_ffff);
  }
  expect(machine.driver.status).toBe(1);
});

test('INTA# follows the ISR register and falls when the driver resets the device', () => {
  using machine = new Fixture('pci-intx');
  const [ring] = machine.initialise();
  ring.enableInterrupts();
  ring.add([{ gpa: 0x8000, length: 1, write: true }]);
  machine.driver.notify(0);
  machine.pump();
  expect([...machine.vm.lines.values()]).toEqual([1]);
  machine.driver.status = 0;
  machine.pump();
  expect([...machine.vm.lines.values()]).toEqual([0]);
});

test('garbage in configuration space neither throws nor hangs', () => {
  const accesses = fc.array(
    fc.record({
      offset: fc.nat(4095),
      size: fc.constantFrom<AccessSize>(1, 2, 4),
      value: fc.integer({ min: 0, max: 0xffff_ffff }),
    }),
    { maxLength: 100 },
  );
  fc.assert(
    fc.property(accesses, (list) => {
      using machine = new Fixture();
      machine.initialise();
      for (const { offset, size, value } of list) {
        machine.setConfig(offset, size, value % 2 ** (8 * size));
        expect(machine.config(offset, size)).toBeLessThan(2 ** (8 * size));
      }
      machine.pump();
      expect(machine.config(0, 4)).toBe(0x107f_1af4);
    }),
    { numRuns: 50 },
  );
});
