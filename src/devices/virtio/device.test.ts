import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { STATUS, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC } from './constants.js';
import { type DriverTransport, TestMachine, TRANSPORTS, type TransportKind } from './driver-model.js';
import { EchoDevice } from './echo-device.js';

const { ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, DEVICE_NEEDS_RESET, FAILED } = STATUS;

function echoMachine(transport: TransportKind) {
  return new TestMachine({ transport, device: (context) => new EchoDevice(context) });
}

function negotiate(driver: DriverTransport, low: number, high: number): number {
  driver.status = 0;
  driver.status = ACKNOWLEDGE;
  driver.status = ACKNOWLEDGE | DRIVER;
  driver.setDriverFeatures(0, low);
  driver.setDriverFeatures(1, high);
  driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
  return driver.status;
}

describe.each(TRANSPORTS)('over %s', (transport) => {
  test('a driver finds the features, the queues and no others', () => {
    using machine = echoMachine(transport);
    const { driver } = machine;
    expect(driver.deviceFeatures(0)).toBe(VIRTIO_F_INDIRECT_DESC + VIRTIO_F_EVENT_IDX);
    expect(driver.deviceFeatures(1)).toBe(1);
    expect(driver.deviceFeatures(2)).toBe(0);
    expect([0, 1, 2, 0xffff].map((index) => driver.queueSize(index))).toEqual([16, 16, 0, 0]);
  });

  test('FEATURES_OK is granted for what was offered, and only with VERSION_1', () => {
    using machine = echoMachine(transport);
    const { driver } = machine;
    expect(negotiate(driver, 0, 1) & FEATURES_OK).toBe(FEATURES_OK);
    expect(negotiate(driver, VIRTIO_F_EVENT_IDX, 1) & FEATURES_OK).toBe(FEATURES_OK);
    expect(negotiate(driver, VIRTIO_F_EVENT_IDX, 0) & FEATURES_OK).toBe(0);
    expect(negotiate(driver, 1, 1) & FEATURES_OK).toBe(0);
    expect(negotiate(driver, 0, 3) & FEATURES_OK).toBe(0);
  });

  test('a driver that acknowledges bits beyond 63 is refused', () => {
    using machine = echoMachine(transport);
    const { driver } = machine;
    driver.status = ACKNOWLEDGE | DRIVER;
    driver.setDriverFeatures(1, 1);
    driver.setDriverFeatures(2, 1);
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    expect(driver.status & FEATURES_OK).toBe(0);
  });

  test('features cannot change after FEATURES_OK', () => {
    using machine = echoMachine(transport);
    negotiate(machine.driver, 0, 1);
    machine.driver.setDriverFeatures(0, VIRTIO_F_EVENT_IDX);
    expect(machine.device.driverFeaturesLow).toBe(0);
  });

  test('DRIVER_OK counts only after FEATURES_OK, and the driver cannot take status bits back', () => {
    using machine = echoMachine(transport);
    const { driver } = machine;
    driver.status = ACKNOWLEDGE | DRIVER | DRIVER_OK;
    expect(driver.status).toBe(ACKNOWLEDGE | DRIVER);
    driver.status = FAILED;
    expect(driver.status).toBe(ACKNOWLEDGE | DRIVER | FAILED);
    driver.status = DEVICE_NEEDS_RESET;
    expect(driver.status & DEVICE_NEEDS_RESET).toBe(0);
  });

  test('a chain is served and interrupts; kicks before DRIVER_OK are not lost', () => {
    using machine = echoMachine(transport);
    const [first, second] = machine.initialise();
    const text = machine.allocator.take(32);
    machine.ram.write(text, Buffer.from('sixteen bytes...'));
    for (const [index, ring] of [first, second].entries()) {
      ring.enableInterrupts();
      const head = ring.add([
        { gpa: text, length: 16, write: false },
        { gpa: text + 16, length: 16, write: true },
      ]);
      machine.driver.notify(index);
      machine.pump();
      expect(machine.driver.takeInterrupt(index)).toBe(true);
      expect(machine.driver.takeInterrupt(index)).toBe(false);
      expect([...machine.vm.lines.values()]).not.toContain(1);
      expect(ring.takeUsed()).toEqual({ head, written: 16 });
    }
    expect(Buffer.from(machine.ram.bytes(text + 16, 16)).toString()).toBe('sixteen bytes...');
  });

  test('the configuration space is read and written in any width, and a change tells the driver', () => {
    using machine = echoMachine(transport);
    machine.initialise();
    machine.device.updateConfig(() => {
      machine.device.model[1] = 0x0403_0201;
    });
    expect(machine.driver.takeConfigInterrupt()).toBe(true);
    machine.driver.writeConfig(0, 4, 0xdead_beef);
    expect(machine.driver.readConfig(0, 4)).toBe(0xdead_beef);
    expect(machine.driver.readConfig(5, 1)).toBe(2);
    expect(machine.driver.readConfig(4, 2)).toBe(0x0201);
    expect(machine.driver.readConfig(8, 4)).toBe(0);
  });

  test('queue registers of a running device cannot be changed', () => {
    using machine = echoMachine(transport);
    const [ring] = machine.initialise();
    const cell = machine.device.queueCell(0);
    const before = Array.from(machine.device.state.u32.subarray(cell, cell + 8));
    machine.driver.setQueue(0, Object.assign(Object.create(ring), { size: 2, descriptors: 0 }));
    expect(Array.from(machine.device.state.u32.subarray(cell, cell + 8))).toEqual(before);
  });

  test('a reset clears everything, and the device can be initialised again', () => {
    using machine = echoMachine(transport);
    machine.initialise();
    machine.driver.status = 0;
    machine.pump();
    expect(machine.driver.status).toBe(0);
    expect(machine.device.driverFeaturesLow).toBe(0);
    expect(machine.device.events).toEqual(['activate', 'reset']);
    const [ring] = machine.initialise();
    const head = ring.add([{ gpa: 0x8000, length: 1, write: true }]);
    machine.driver.notify(0);
    machine.pump();
    expect(ring.takeUsed()?.head).toBe(head);
  });

  test('random register traffic neither throws nor hangs, and a reset still works afterwards', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            offset: fc.oneof(fc.nat(0x1ff), fc.nat(0x3fff)),
            size: fc.constantFrom(1, 2, 4),
            value: fc.oneof(fc.nat(255), fc.integer({ min: 0, max: 0xffff_ffff })),
            write: fc.boolean(),
          }),
          { maxLength: 60 },
        ),
        fc.boolean(),
        (accesses, initialised) => {
          using machine = echoMachine(transport);
          if (initialised) machine.initialise();
          const base = transport === 'mmio' ? 0xd000_0000 : 0xc000_0000;
          for (const { offset, size, value, write } of accesses) {
            const width = size === 1 ? 1 : size === 2 ? 2 : 4;
            if (write) machine.mmio.write(base + offset, width, value % 2 ** (8 * width));
            else expect(machine.mmio.read(base + offset, width)).toBeLessThan(2 ** (8 * width));
          }
          machine.pump();
          const rings = machine.initialise();
          const head = rings[0].add([{ gpa: 0x8000, length: 1, write: true }]);
          machine.driver.notify(0);
          machine.pump();
          expect(rings[0].takeUsed()?.head).toBe(head);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('a reset with requests in flight', () => {
  function busyMachine(transport: TransportKind) {
    const machine = echoMachine(transport);
    const [ring] = machine.initialise();
    machine.device.holding = true;
    ring.add([{ gpa: 0x8000, length: 1, write: true }]);
    machine.driver.notify(0);
    machine.pump();
    return { machine, ring };
  }

  test('over pci shows a status that is not zero until they are finished', () => {
    const { machine, ring } = busyMachine('pci');
    using _ = machine;
    const before = machine.driver.status;
    machine.driver.status = 0;
    machine.pump();
    expect(machine.driver.status).toBe(before);
    const used = machine.ram.readU16(ring.device + 2);
    machine.device.release();
    expect(machine.driver.status).toBe(0);
    expect(machine.ram.readU16(ring.device + 2)).toBe(used);
    expect(machine.driver.takeInterrupt(0)).toBe(false);
  });

  test('does not mix with the next activation, even of a driver that does not wait', () => {
    const { machine } = busyMachine('pci');
    using _ = machine;
    const { driver } = machine;
    driver.status = 0;
    driver.status = ACKNOWLEDGE | DRIVER;
    driver.setDriverFeatures(1, 1);
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
    driver.notify(0);
    machine.pump();
    expect(machine.device.events).toEqual(['activate', 'reset']);
    machine.device.release();
    machine.pump();
    expect(machine.device.events).toEqual(['activate', 'reset', 'activate']);
  });

  test('over mmio is over when the write is, or times out while the status says that it is not', () => {
    const { machine } = busyMachine('mmio');
    using _ = machine;
    machine.driver.status = 0;
    expect(machine.device.waitForReset(1)).toBe(false);
    expect(machine.driver.status).not.toBe(0);
    machine.device.release();
    expect(machine.device.waitForReset(1)).toBe(true);
    expect(machine.driver.status).toBe(0);
  });
});
