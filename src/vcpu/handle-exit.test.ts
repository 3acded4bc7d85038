import { expect, test } from 'vitest';
import { Bus } from '../devices/bus.js';
import type { AccessSize, BusDevice } from '../devices/device.js';
import { StateArena } from '../devices/state.js';
import { KVM_EXIT } from '../kvm/ioctl.js';
import { Mapping } from '../sys/mapping.js';
import { RunView } from './exit.js';
import { type Buses, handleExit, Outcome } from './handle-exit.js';

/** Records its accesses; reads give 0xa1a2a3a4 cut to size, plus the number of the read. */
class Recorder implements BusDevice {
  readonly name = 'recorder';
  readonly state = new StateArena(new SharedArrayBuffer(4096)).claim('recorder', 1);
  readonly log: (string | number)[][] = [];

  read(offset: number, size: AccessSize): number {
    this.log.push(['read', offset, size]);
    return [0, 0xa4, 0xa3a4, 0, 0xa1a2_a3a4][size] + this.log.length;
  }
  write(offset: number, size: AccessSize, value: number): void {
    this.log.push(['write', offset, size, value]);
  }
}

function setUp(): { device: Recorder; buses: Buses; view: RunView } {
  const device = new Recorder();
  const buses = { pio: new Bus('PIO'), mmio: new Bus('MMIO') };
  buses.pio.add(0x100, 0x10, device);
  buses.mmio.add(0xd000_0000, 0x1000, device);
  return { device, buses, view: new RunView(Mapping.anonymous(3 * 4096, 'a fake kvm_run')) };
}

function io(view: RunView, out: boolean, port: number, size: number, count: number): void {
  view.u32[2] = KVM_EXIT.IO;
  view.data.setUint8(32, out ? 1 : 0);
  view.data.setUint8(33, size);
  view.data.setUint16(34, port, true);
  view.data.setUint32(36, count, true);
  view.data.setUint32(40, 4096, true);
}

function mmio(view: RunView, write: boolean, address: number, length: number): void {
  view.u32[2] = KVM_EXIT.MMIO;
  view.data.setBigUint64(32, BigInt(address), true);
  view.data.setUint32(48, length, true);
  view.data.setUint8(52, write ? 1 : 0);
}

test('a repeated OUT reaches the device item by item, in order', () => {
  const { device, buses, view } = setUp();
  io(view, true, 0x104, 2, 3);
  for (let i = 0; i < 6; i++) view.u8[4096 + i] = i;
  expect(handleExit(view, buses)).toBe(Outcome.Continue);
  expect(device.log).toEqual([
    ['write', 4, 2, 0x0100],
    ['write', 4, 2, 0x0302],
    ['write', 4, 2, 0x0504],
  ]);
});

test('a repeated IN asks the device once for each item and fills exactly those bytes', () => {
  const { buses, view } = setUp();
  io(view, false, 0x100, 4, 2);
  view.u8.fill(0xee, 4096, 4096 + 16);
  handleExit(view, buses);
  expect([view.data.getUint32(4096, true), view.data.getUint32(4100, true)]).toEqual([
    0xa1a2_a3a5, 0xa1a2_a3a6,
  ]);
  expect(view.u8[4104]).toBe(0xee);
});

test('a port without a device reads as all ones, and writes to it go nowhere', () => {
  const { device, buses, view } = setUp();
  io(view, false, 0x200, 4, 1);
  handleExit(view, buses);
  expect(view.data.getUint32(4096, true)).toBe(0xffff_ffff);
  io(view, true, 0x200, 1, 1);
  expect(handleExit(view, buses)).toBe(Outcome.Continue);
  expect(device.log).toEqual([]);
});

test.each([
  [1, [['write', 8, 1, 0x11]]],
  [2, [['write', 8, 2, 0x2211]]],
  [4, [['write', 8, 4, 0x4433_2211]]],
  [
    3,
    [
      ['write', 8, 2, 0x2211],
      ['write', 10, 1, 0x33],
    ],
  ],
  [
    7,
    [
      ['write', 8, 4, 0x4433_2211],
      ['write', 12, 2, 0x6655],
      ['write', 14, 1, 0x77],
    ],
  ],
  [
    8,
    [
      ['write', 8, 4, 0x4433_2211],
      ['write', 12, 4, 0x8877_6655],
    ],
  ],
])('an MMIO write of %i bytes comes in parts of 4, 2 and 1, lowest address first', (length, log) => {
  const { device, buses, view } = setUp();
  mmio(view, true, 0xd000_0008, length);
  view.u8.set([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88], RunView.MMIO_DATA);
  expect(handleExit(view, buses)).toBe(Outcome.Continue);
  expect(device.log).toEqual(log);
});

test('an MMIO read of 8 bytes is two reads of 4', () => {
  const { buses, view } = setUp();
  mmio(view, false, 0xd000_0000, 8);
  handleExit(view, buses);
  expect(view.data.getBigUint64(RunView.MMIO_DATA, true)).toBe(0xa1a2_a3a6_a1a2_a3a5n);
});

test('a length that KVM never gives touches nothing behind the data field', () => {
  const { device, buses, view } = setUp();
  mmio(view, false, 0xd000_0000, 4096);
  handleExit(view, buses);
  expect(device.log).toHaveLength(2);
  expect(view.data.getUint32(48, true)).toBe(4096);
});

test('a device that throws does not keep its lock', () => {
  const { buses, view, device } = setUp();
  device.write = () => {
    throw new Error('a defect');
  };
  io(view, true, 0x100, 1, 1);
  expect(() => handleExit(view, buses)).toThrow('a defect');
  io(view, false, 0x100, 1, 1);
  expect(handleExit(view, buses)).toBe(Outcome.Continue);
});

test('an MSR that nobody answers for is an error: the guest gets #GP', () => {
  const { buses, view } = setUp();
  for (const reason of [KVM_EXIT.X86_RDMSR, KVM_EXIT.X86_WRMSR]) {
    view.u32[2] = reason;
    view.u8[32] = 0;
    expect(handleExit(view, buses)).toBe(Outcome.Continue);
    expect(view.u8[32]).toBe(1);
  }
});

test('a hypercall is answered by -KVM_ENOSYS', () => {
  const { buses, view } = setUp();
  view.u32[2] = KVM_EXIT.HYPERCALL;
  expect(handleExit(view, buses)).toBe(Outcome.Continue);
  expect(view.data.getBigInt64(32 + 56, true)).toBe(-1000n);
});

test.each([
  [KVM_EXIT.INTR, Outcome.Continue],
  [KVM_EXIT.IRQ_WINDOW_OPEN, Outcome.Continue],
  [KVM_EXIT.IOAPIC_EOI, Outcome.Continue],
  [KVM_EXIT.HLT, Outcome.Halted],
  [KVM_EXIT.SHUTDOWN, Outcome.Shutdown],
  [KVM_EXIT.SYSTEM_EVENT, Outcome.SystemEvent],
  [KVM_EXIT.DEBUG, Outcome.Debug],
  [KVM_EXIT.FAIL_ENTRY, Outcome.Fatal],
  [KVM_EXIT.INTERNAL_ERROR, Outcome.Fatal],
  [KVM_EXIT.UNKNOWN, Outcome.Fatal],
  [12345, Outcome.Fatal],
])('exit reason %i has outcome %i', (reason, outcome) => {
  const { buses, view } = setUp();
  view.u32[2] = reason;
  expect(handleExit(view, buses)).toBe(outcome);
});
