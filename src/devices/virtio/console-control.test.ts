import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EventfdOwner } from '../context.js';
import { StateArena } from '../state.js';
import { VirtioConsole } from './console.js';
import {
  CONSOLE_CONFIG,
  portOfQueue,
  receiveQueue,
  transmitQueue,
  VIRTIO_CONSOLE,
} from './console-protocol.js';
import { Bench, CONTROL, CONTROL_IN, closeAll, pipe, port } from './console-test-bench.js';
import { TestHost } from './plane-test-host.js';

describe('the control protocol', () => {
  test('queues belong to ports as section 5.3.2 says', () => {
    expect([0, 1, 2].map(receiveQueue)).toEqual([0, 4, 6]);
    expect([0, 1, 2].map(transmitQueue)).toEqual([1, 5, 7]);
    expect([0, 1, 2, 3, 4, 5, 6, 7].map(portOfQueue)).toEqual([0, 0, undefined, undefined, 1, 1, 2, 2]);
  });

  test('ports are announced, named, made a console and opened in that order', () => {
    const [r, w] = pipe();
    using bench = new Bench([port('tvmm.console', -1, w, true), port('tvmm.stdout', -1, w), port('idle')]);
    bench.device.resize(120, 40);
    bench.host.settle();
    bench.control(0, VIRTIO_CONSOLE.DEVICE_READY, 1);
    expect(bench.messages().map(({ id, event }) => [id, event])).toEqual([
      [0, VIRTIO_CONSOLE.PORT_ADD],
      [1, VIRTIO_CONSOLE.PORT_ADD],
      [2, VIRTIO_CONSOLE.PORT_ADD],
    ]);
    for (const id of [0, 1, 2]) bench.control(id, VIRTIO_CONSOLE.PORT_READY, 1);
    const seen = bench
      .messages()
      .map(({ id, event, value, payload }) => [id, event, value, payload.toString('latin1')]);
    expect(seen).toEqual([
      [0, VIRTIO_CONSOLE.PORT_NAME, 1, 'tvmm.console'],
      [0, VIRTIO_CONSOLE.CONSOLE_PORT, 1, ''],
      [0, VIRTIO_CONSOLE.RESIZE, 1, '\x28\0\x78\0'],
      [0, VIRTIO_CONSOLE.PORT_OPEN, 1, ''],
      [1, VIRTIO_CONSOLE.PORT_NAME, 1, 'tvmm.stdout'],
      [1, VIRTIO_CONSOLE.PORT_OPEN, 1, ''],
      [2, VIRTIO_CONSOLE.PORT_NAME, 1, 'idle'],
    ]);
    bench.device.resize(80, 25);
    bench.host.settle();
    expect(bench.messages().map(({ payload }) => payload.toString('latin1'))).toEqual(['\x19\0\x50\0']);
    expect(bench.device.readConfig(CONSOLE_CONFIG.cols, 2)).toBe(80);
    expect(bench.device.readConfig(CONSOLE_CONFIG.max_nr_ports, 4)).toBe(3);
    expect(bench.device.readConfig(10, 4)).toBe(0);
    closeAll(r, w);
  });

  test('messages wait for control buffers, and a driver that never gives any is stopped', () => {
    using bench = new Bench([port('a'), port('b')]);
    bench.open();
    for (let i = 0; i < 15; i++) bench.control(0, VIRTIO_CONSOLE.DEVICE_READY, 1);
    const first = bench.messages().length;
    bench.controlBuffers(20);
    expect(first + bench.messages().length).toBe(30);
    for (let i = 0; i < 600 && bench.host.failures.length === 0; i++) {
      bench.control(0, VIRTIO_CONSOLE.DEVICE_READY, 1);
    }
    expect(bench.host.failures).toEqual(['the driver never takes its control messages']);
  });

  test('random control messages are ignored or answered, never fatal', () => {
    const short = fc.record({
      id: fc.nat(5),
      event: fc.nat(9),
      value: fc.nat(3),
      length: fc.integer({ min: 1, max: 8 }),
    });
    fc.assert(
      fc.property(fc.array(short, { maxLength: 10 }), (messages) => {
        using bench = new Bench([port('a'), port('b', -1, -1, true)]);
        for (const { id, event, value, length } of messages) {
          bench.host.ram.writeU32(CONTROL, id === 5 ? 0xffff_ffff : id);
          bench.host.ram.writeU16(CONTROL + 4, event);
          bench.host.ram.writeU16(CONTROL + 6, value);
          // Split wherever it likes.
          const cut = Math.max(1, length >> 1);
          bench.host.drivers[3].add(
            length > cut
              ? [
                  { gpa: CONTROL, length: cut },
                  { gpa: CONTROL + cut, length: length - cut },
                ]
              : [{ gpa: CONTROL, length }],
          );
          bench.host.kick(3);
          expect(bench.host.drivers[3].used().length).toBe(1);
        }
        expect(bench.host.failures).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });

  test('a control buffer that is too small, or not writable, fails the device', () => {
    using bench = new Bench([port('a')]);
    bench.open();
    const own = bench.host.drivers[2];
    for (let i = 0; i < 40; i++) bench.control(0, VIRTIO_CONSOLE.DEVICE_READY, 1);
    own.used();
    own.add([{ gpa: CONTROL_IN, length: 7, write: true }]);
    bench.host.kick(2);
    expect(bench.host.failures.length).toBe(1);
  });
});

test('a descriptor that is not open is refused when the plane is made, and leaves nothing', () => {
  using eventfds = new EventfdOwner();
  using host = new TestHost([64, 64, 64, 64]);
  const [r, w] = pipe();
  const count = readdirSync('/proc/self/fd').length;
  const device = new VirtioConsole(
    { arena: new StateArena(), eventfds, isOwner: true },
    { ports: [port('a', r, 9999)] },
  );
  expect(() => device.createDataPlane(host)).toThrow(/output of a: EBADF/);
  // The device's own eventfds: four queues, the control and the resize.
  expect(readdirSync('/proc/self/fd').length).toBe(count + 6);
  closeAll(r, w);
});
