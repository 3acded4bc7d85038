import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { createEventfd, signalEventfd } from '../../sys/eventfd.js';
import { STATUS } from './constants.js';
import { TestMachine, TRANSPORTS, WITHOUT_EVENT_IDX } from './driver-model.js';
import { EchoDevice } from './echo-device.js';
import type { GuestRing } from './guest-ring.js';
import { Virtqueue } from './queue.js';

const NEEDS_RESET = STATUS.DEVICE_NEEDS_RESET;
const one = { gpa: 0x8000, length: 1, write: true };

function echoMachine(queueSizes?: readonly number[]) {
  return new TestMachine({
    transport: 'pci',
    device: (context) => new EchoDevice(context, 'echo', queueSizes),
  });
}

/** Chains that came back. */
function reap(ring: GuestRing): number {
  let count = 0;
  while (ring.takeUsed() !== undefined) count++;
  return count;
}

describe.each(TRANSPORTS)('a driver that breaks the rules over %s', (transport) => {
  const breakages: [string, (ring: GuestRing) => void][] = [
    ['a descriptor loop', (ring) => ring.writeDescriptor(ring.descriptors, 0, 0x8000, 1, 1, 0)],
    ['an address out of range', (ring) => ring.writeDescriptor(ring.descriptors, 0, 2 ** 40, 1, 0, 0)],
    ['a buffer of no length', (ring) => ring.writeDescriptor(ring.descriptors, 0, 0x8000, 0, 0, 0)],
    ['a runaway index', (ring) => ring.ram.writeU16(ring.driver + 2, 1000)],
  ];
  test.each(breakages)('is told that the device needs a reset: %s', (_name, breakRule) => {
    using machine = new TestMachine({ transport, device: (context) => new EchoDevice(context) });
    const [ring, other] = machine.initialise();
    ring.publish(0);
    breakRule(ring);
    machine.driver.notify(0);
    machine.pump();
    expect(machine.failures).toHaveLength(1);
    expect(machine.driver.status & NEEDS_RESET).toBe(NEEDS_RESET);
    expect(machine.driver.takeConfigInterrupt()).toBe(true);

    other.add([one]);
    machine.driver.notify(0);
    machine.driver.notify(1);
    machine.pump();
    expect(other.takeUsed()).toBeUndefined();
    expect(machine.failures).toHaveLength(1);

    const [again] = machine.initialise();
    expect(machine.driver.status & NEEDS_RESET).toBe(0);
    again.add([one]);
    machine.driver.notify(0);
    machine.pump();
    expect(reap(again)).toBe(1);
  });

  test('at activation too: rings outside RAM', () => {
    using machine = new TestMachine({ transport, device: (context) => new EchoDevice(context) });
    const [ring] = machine.initialise();
    machine.driver.status = 0;
    machine.pump();
    const { ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK } = STATUS;
    machine.driver.status = ACKNOWLEDGE | DRIVER;
    machine.driver.setDriverFeatures(1, 1);
    machine.driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    machine.driver.setQueue(0, Object.assign(Object.create(ring), { descriptors: 2 ** 45 }));
    machine.driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
    machine.pump();
    expect(machine.driver.status & NEEDS_RESET).toBe(NEEDS_RESET);
    expect(machine.failures[0]).toMatch(/echo: the descriptor table at 0x200000000000 .* is not in RAM/);
  });
});

test('an error in a data plane fails its device and not the loop', () => {
  using machine = echoMachine();
  const [ring] = machine.initialise();
  machine.device.bug = new Error('a mistake of ours');
  ring.add([one]);
  machine.driver.notify(0);
  machine.pump();
  expect(machine.failures).toEqual(['echo: a mistake of ours']);
  expect(machine.driver.status & NEEDS_RESET).toBe(NEEDS_RESET);
});

test('a handler that only throws is given up, so that its descriptor does not keep the loop busy', () => {
  using machine = echoMachine();
  machine.initialise();
  using ready = createEventfd('always ready');
  machine.device.watch(ready.fd, () => {
    throw new Error('no good');
  });
  signalEventfd(ready.fd);
  machine.pump();
  expect(machine.failures).toEqual(['echo: no good']);
  expect(machine.loop.step(0)).toBe(false);
});

test('a queue that floods lets the others have their turn', () => {
  using machine = echoMachine([256, 256]);
  const [flood, other] = machine.initialise();
  machine.device.meanwhile = () => {
    // The driver refills from another processor as fast as the device empties.
    reap(flood);
    if (machine.device.served[0] < 5000) flood.add([one]);
  };
  flood.enableInterrupts();
  for (let i = 0; i < 200; i++) flood.add([one]);
  other.add([one]);
  machine.driver.notify(0);
  machine.driver.notify(1);
  while (machine.device.served[1] === 0) machine.loop.step(0);
  expect(machine.device.served[0]).toBeLessThanOrEqual(2 * 64);
  expect(machine.driver.takeInterrupt(0)).toBe(true);
  machine.pump();
  expect(machine.device.served[0]).toBeGreaterThanOrEqual(5000);
});

describe.each([
  ['EVENT_IDX', 0xffff_ffff],
  ['flags', WITHOUT_EVENT_IDX],
])('suppression by %s', (_name, features) => {
  test('loses no kick and no interrupt, whatever the order of events', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.record({ kind: fc.constant('add' as const), count: fc.integer({ min: 1, max: 6 }) }),
            fc.record({ kind: fc.constantFrom('step' as const, 'interrupt' as const) }),
            fc.record({
              kind: fc.constantFrom('add while serving' as const, 'add before re-arming' as const),
              count: fc.integer({ min: 1, max: 6 }),
            }),
          ),
          { maxLength: 80 },
        ),
        (events) => {
          using machine = echoMachine();
          const [ring] = machine.initialise(features);
          let added = 0;
          let reaped = 0;
          let scheduled = 0;
          let late = 0;
          const add = (count: number) => {
            const before = ring.availIdx;
            for (let i = 0; i < count && ring.freeDescriptors > 0; i++, added++) ring.add([one]);
            if (ring.availIdx !== before && ring.wantsKick(before)) machine.driver.notify(0);
          };
          // As the Linux driver's handler: reap with interrupts off, switch them on, look again.
          const onInterrupt = () => {
            do {
              ring.disableInterrupts();
              reaped += reap(ring);
            } while (ring.enableInterrupts());
          };
          machine.device.meanwhile = () => {
            const count = scheduled;
            scheduled = 0;
            add(count);
          };
          // The narrowest window: the device has found its queue empty, and has not yet said that it wants kicks again.
          const rearm = Virtqueue.prototype.enableNotifications;
          using spy = vi.spyOn(Virtqueue.prototype, 'enableNotifications');
          spy.mockImplementation(function (this: Virtqueue) {
            const count = late;
            late = 0;
            add(count);
            return rearm.call(this);
          });
          ring.enableInterrupts();
          for (const event of events) {
            if (event.kind === 'add') add(event.count);
            else if (event.kind === 'add while serving') scheduled = event.count;
            else if (event.kind === 'add before re-arming') late = event.count;
            else if (event.kind === 'step') machine.loop.step(0);
            else if (machine.driver.takeInterrupt(0)) onInterrupt();
          }
          machine.device.meanwhile = undefined;
          machine.pump();
          while (machine.driver.takeInterrupt(0)) {
            onInterrupt();
            machine.pump();
          }
          expect(reaped).toBe(added);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('spares kicks and interrupts: a burst costs one of each', () => {
    using machine = echoMachine();
    const [ring] = machine.initialise(features);
    ring.enableInterrupts();
    let kicks = 0;
    let left = 10;
    machine.device.meanwhile = () => {
      if (left-- <= 0) return;
      const before = ring.availIdx;
      ring.add([one]);
      if (ring.wantsKick(before)) kicks++;
    };
    ring.add([one]);
    machine.driver.notify(0);
    machine.pump();
    expect(kicks).toBe(0);
    expect(machine.driver.takeInterrupt(0)).toBe(true);
    expect(reap(ring)).toBe(11);
  });
});

describe('pausing', () => {
  test('is acknowledged when nothing is in flight, keeps kicks for later, and stores the ring positions', () => {
    using machine = echoMachine();
    const [ring] = machine.initialise();
    machine.device.holding = true;
    ring.add([one]);
    machine.driver.notify(0);
    machine.pump();
    machine.control.request('paused');
    machine.pump();
    expect(machine.control.waitFor('paused', 1)).toBe(false);
    machine.device.release();
    expect(machine.control.waitFor('paused', 1)).toBe(true);
    const cell = machine.device.queueCell(0);
    expect(Array.from(machine.device.state.u32.subarray(cell + 9, cell + 11))).toEqual([1, 1]);

    ring.add([one]);
    machine.driver.notify(0);
    machine.pump();
    expect(machine.device.served[0]).toBe(1);
    machine.control.request('running');
    machine.pump();
    expect(machine.control.waitFor('running', 1)).toBe(true);
    expect(reap(ring)).toBe(2);
  });

  test('a stop ends run, from wherever it is asked', () => {
    using machine = echoMachine();
    machine.control.request('stopped');
    machine.loop.run();
    expect(machine.control.waitFor('stopped', 1)).toBe(true);
  });

  test('disposing the loop disposes the planes', () => {
    const machine = echoMachine();
    machine[Symbol.dispose]();
    expect(machine.device.events).toEqual(['dispose']);
  });
});
