import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PCI_ECAM, PCI_MMIO32 } from '../../memory/layout.js';
import { Bus } from '../bus.js';
import type { AccessSize } from '../device.js';
import { MsiRoutes } from '../msi.js';
import { ResetControl } from '../reset.js';
import { type TestContext, testContext } from '../testing.js';
import type { Bar } from './bar.js';
import { PciFunction } from './function.js';
import { intxGsi, PciRoot } from './root.js';

/** A function with registers that read as their offset, MSI-X and one I/O BAR. */
class TestFunction extends PciFunction {
  readonly bar: Bar;
  readonly io: Bar;
  readonly moves: [number, number, number | undefined][] = [];
  readonly writes: [number, AccessSize, number][] = [];
  readonly capability: number;

  constructor(context: TestContext, routes: MsiRoutes, name = 'test function') {
    super(context, name, { vendorId: 0x1af4, deviceId: 0x1042, classCode: 0x018000, revision: 1 });
    this.bar = this.addBar(0, 0x4000);
    this.io = this.addBar(2, 0x40, 'io');
    this.bar.add({
      offset: 0,
      size: 0x1000,
      handler: {
        read: (offset, size) => (size === 1 ? offset & 0xff : offset),
        write: (offset, size, value) => this.writes.push([offset, size, value]),
      },
    });
    this.capability = this.addCapability(0x09, Uint8Array.of(6, 1, 0x42, 0), Uint8Array.of(0, 0, 0x0f, 0));
    this.addMsix(routes, { vectors: 3, bar: this.bar, tableOffset: 0x2000, pbaOffset: 0x3000 });
  }

  protected override onBarMoved(bar: Bar, address: number, previous: number | undefined): void {
    this.moves.push([bar.index, address, previous]);
  }
}

function machine(context = testContext()) {
  const resetControl = new ResetControl(context);
  const root = new PciRoot(context, resetControl);
  const routes = new MsiRoutes(context);
  const device = new TestFunction(context, routes);
  const slot = root.add(device);
  const pio = new Bus('PIO');
  const mmio = new Bus('MMIO');
  root.attach(pio, mmio);
  const at = (register: number) => PCI_ECAM.base + slot * 0x8000 + register;
  return {
    context,
    root,
    device,
    pio,
    mmio,
    slot,
    read: (register: number, size: AccessSize = 4) => mmio.read(at(register), size),
    write: (register: number, value: number, size: AccessSize = 4) => mmio.write(at(register), size, value),
  };
}

const COMMAND = 0x04;
const STATUS = 0x06;
const BAR0 = 0x10;
const BAR2 = 0x18;
const INTX_DISABLE = 0x400;
const MSIX_ENABLE = 0x8000;

/** Offset of the MSI-X capability, found as a driver does. */
function msixCapability(read: (register: number, size: AccessSize) => number): number {
  let offset = read(0x34, 1);
  while (offset !== 0 && read(offset, 1) !== 0x11) offset = read(offset + 1, 1);
  return offset;
}

test('the header identifies the function', () => {
  const { read } = machine();
  expect(read(0x00)).toBe(0x1042_1af4);
  expect(read(0x08)).toBe(0x0180_0001);
  expect(read(0x0e, 1), 'single-function, type 0').toBe(0);
  expect(read(0x3c, 1), 'interrupt line').toBe(intxGsi(1));
  expect(read(0x3d, 1), 'interrupt pin A').toBe(1);
});

test('00:00.0 is a host bridge; absent slots, functions and extended space read all ones', () => {
  const { mmio, root } = machine();
  expect(mmio.read(PCI_ECAM.base + 0x0a, 2)).toBe(0x0600);
  expect(mmio.read(PCI_ECAM.base + 2 * 0x8000, 4)).toBe(0xffff_ffff);
  expect(mmio.read(PCI_ECAM.base + 0x8000 + 0x1000, 4), 'function 1').toBe(0xffff_ffff);
  expect(mmio.read(PCI_ECAM.base + 0x8000 + 0x100, 4)).toBe(0xffff_ffff);
  expect(root.readConfig(-1, 0, 2)).toBe(0xffff);
});

test('capabilities form a list whose writable bits alone change', () => {
  const { read, write, device } = machine();
  expect(read(STATUS, 2) & 0x10, 'capabilities list').toBe(0x10);
  expect(read(0x34, 1)).toBe(device.capability);
  expect(read(device.capability)).toBe(0x0106_0009 + ((device.capability + 8) << 8));
  write(device.capability + 4, 0xffff_ffff);
  expect(read(device.capability + 4, 2)).toBe(0x004f);
  expect(msixCapability(read)).toBe(device.capability + 8);
});

test('identification is read-only', () => {
  const { read, write } = machine();
  const before = Array.from({ length: 4 }, (_, i) => read(i * 4));
  for (const register of [0x00, 0x08, 0x0e, 0x2c, 0x34, 0x3d]) write(register, 0, 1);
  write(0x00, 0);
  expect(Array.from({ length: 4 }, (_, i) => read(i * 4))).toEqual(before);
});

test('a BAR has an address beforehand and tells its size when all ones are written', () => {
  const { read, write } = machine();
  const address = read(BAR0);
  expect(address).toBe(PCI_MMIO32.base);
  write(BAR0, 0xffff_ffff);
  expect(read(BAR0)).toBe(0xffff_c000);
  write(BAR0, address);
  expect(read(BAR0)).toBe(address);
  write(BAR2, 0xffff_ffff);
  expect(read(BAR2)).toBe(0xffff_ffc1);
  write(0x14, 0xffff_ffff);
  expect(read(0x14), 'no BAR 1').toBe(0);
  write(0x30, 0xffff_ffff);
  expect(read(0x30), 'no expansion ROM').toBe(0);
});

test('BARs of several functions do not overlap and are aligned to their sizes', () => {
  const context = testContext();
  const root = new PciRoot(context, new ResetControl(context));
  const routes = new MsiRoutes(context);
  const functions = Array.from({ length: 5 }, (_, i) => new TestFunction(context, routes, `function ${i}`));
  for (const each of functions) root.add(each);
  const addresses = functions.map((each) => each.barAddress(each.bar));
  expect(addresses.map((address) => (address - PCI_MMIO32.base) / 0x4000)).toEqual([0, 1, 2, 3, 4]);
});

test('registers answer at the BAR only while memory decoding is on', () => {
  const { mmio, write, device } = machine();
  const base = PCI_MMIO32.base;
  expect(mmio.read(base + 0x24, 4)).toBe(0xffff_ffff);
  write(COMMAND, 0x2, 2);
  expect(mmio.read(base + 0x24, 4)).toBe(0x24);
  mmio.write(base + 0x30, 2, 0xabcd);
  expect(device.writes).toEqual([[0x30, 2, 0xabcd]]);
  expect(mmio.read(base + 0x1800, 4), 'a gap between regions').toBe(0xffff_ffff);
  write(COMMAND, 0, 2);
  expect(mmio.read(base + 0x24, 4)).toBe(0xffff_ffff);
});

test('a moved BAR answers at its new address', () => {
  const { mmio, write } = machine();
  write(COMMAND, 0x2, 2);
  write(BAR0, 0xc800_0000);
  expect(mmio.read(0xc800_0010, 4)).toBe(0x10);
  expect(mmio.read(PCI_MMIO32.base + 0x10, 4)).toBe(0xffff_ffff);
});

test('a function hears of a BAR when decoding starts, and again only at another address', () => {
  const { write, read, device } = machine();
  const base = read(BAR0);
  write(COMMAND, 0x2, 2);
  write(COMMAND, 0x0, 2);
  write(BAR0, 0xffff_ffff);
  write(BAR0, base);
  write(COMMAND, 0x6, 2);
  expect(device.moves).toEqual([[0, base, undefined]]);
  write(BAR0, 0xc900_0000);
  expect(device.moves.slice(1)).toEqual([[0, 0xc900_0000, base]]);
});

test('INTA# follows the device, the disable bit and MSI-X', () => {
  const { context, device, read, write } = machine();
  const levels = () => context.vm.take('setIrqLine').map(({ gsi, level }) => `${gsi}:${level}`);
  device.state.locked(() => device.driveIntx(true));
  expect(read(STATUS, 2) & 0x8).toBe(0x8);
  write(COMMAND, INTX_DISABLE, 2);
  write(COMMAND, 0, 2);
  const control = msixCapability(read) + 2;
  write(control, MSIX_ENABLE, 2);
  write(control, 0, 2);
  device.state.locked(() => device.driveIntx(false));
  expect(read(STATUS, 2) & 0x8).toBe(0);
  expect(levels()).toEqual(['17:1', '17:0', '17:1', '17:0', '17:1', '17:0']);
});

test('an MSI-X vector fires what the guest programmed, once it is enabled and unmasked', () => {
  const { context, device, mmio, read, write } = machine();
  const table = PCI_MMIO32.base + 0x2000 + 16;
  const pba = PCI_MMIO32.base + 0x3000;
  const control = msixCapability(read) + 2;
  const vector = device.msix?.vectors[1];
  expect(read(control, 2), 'three vectors').toBe(2);
  expect(read(control + 2)).toBe(0x2000);
  expect(read(control + 6)).toBe(0x3000);
  write(COMMAND, 0x6, 2);
  expect(mmio.read(table + 12, 4), 'masked after reset').toBe(1);

  mmio.write(table, 4, 0xfee0_2000);
  mmio.write(table + 8, 4, 0x4055);
  mmio.write(table + 12, 4, 0);
  vector?.signal();
  expect(mmio.read(pba, 4), 'pending while MSI-X is off').toBe(2);
  write(control, MSIX_ENABLE, 2);

  expect(mmio.read(pba, 4)).toBe(0);
  expect(context.vm.take('signalMsi')).toEqual([
    { call: 'signalMsi', addressLow: 0xfee0_2000, addressHigh: 0, data: 0x4055 },
  ]);
  expect(mmio.read(table + 8, 4)).toBe(0x4055);

  write(control, MSIX_ENABLE | 0x4000, 2);
  expect(vector?.masked, 'function mask').toBe(true);
});

test('configuration mechanism #1 reaches the same registers in bytes, words and dwords', () => {
  const { pio, read } = machine();
  pio.write(0xcf8, 4, 0x8000_0800);
  expect(pio.read(0xcf8, 4)).toBe(0x8000_0800);
  expect(pio.read(0xcfc, 4)).toBe(0x1042_1af4);
  expect(pio.read(0xcfe, 2)).toBe(0x1042);
  expect(pio.read(0xcfd, 1)).toBe(0x1a);
  pio.write(0xcf8, 4, 0x8000_0804);
  pio.write(0xcfc, 2, 0x0006);
  expect(read(COMMAND, 2)).toBe(6);
});

test('mechanism #1 reads all ones when disabled, on another bus and in absent slots', () => {
  const { pio } = machine();
  for (const address of [0x0000_0800, 0x8001_0800, 0x8000_f800, 0x8000_0900]) {
    pio.write(0xcf8, 4, address);
    expect(pio.read(0xcfc, 4), address.toString(16)).toBe(0xffff_ffff);
  }
});

test('narrow accesses to the address register do not disturb it, as probing kernels check', () => {
  const { pio, context } = machine();
  pio.write(0xcf8, 4, 0x8000_0000);
  pio.write(0xcfb, 1, 0x01);
  expect(pio.read(0xcf8, 4)).toBe(0x8000_0000);
  pio.write(0xcf9, 1, 0x02);
  expect(context.requests).toEqual([]);
  pio.write(0xcf9, 1, 0x06);
  expect(context.requests).toEqual(['reset']);
});

test('without mechanism #1 the reset control register still answers', () => {
  const context = testContext();
  const root = new PciRoot(context, new ResetControl(context));
  const pio = new Bus('PIO');
  root.attach(pio, new Bus('MMIO'), { mechanism1: false });
  expect(pio.read(0xcf8, 4)).toBe(0xffff_ffff);
  pio.write(0xcf9, 1, 0x0e);
  expect(context.requests).toEqual(['reset']);
});

test('another thread sees the registers and does not reset them', () => {
  const first = machine();
  first.write(COMMAND, 0x2, 2);
  first.write(BAR0, 0xca00_0000);
  const second = machine(testContext({ buffer: first.context.arena.buffer, isOwner: false }));
  expect(second.read(BAR0)).toBe(0xca00_0000);
  expect(second.mmio.read(0xca00_0008, 4)).toBe(8);
});

test('a BAR on top of another, of RAM or of ECAM breaks neither the bus nor the other function', () => {
  const context = testContext();
  const root = new PciRoot(context, new ResetControl(context));
  const routes = new MsiRoutes(context);
  const functions = ['one', 'two'].map((name) => new TestFunction(context, routes, name));
  const mmio = new Bus('MMIO');
  for (const each of functions) root.add(each);
  root.attach(new Bus('PIO'), mmio);
  for (const slot of [1, 2]) {
    mmio.write(PCI_ECAM.base + slot * 0x8000 + COMMAND, 2, 2);
    for (const address of [0, 0xfee0_0000, 0xffff_c000, PCI_ECAM.base])
      mmio.write(PCI_ECAM.base + slot * 0x8000 + BAR0, 4, address);
  }
  expect(mmio.read(PCI_ECAM.base, 4), 'ECAM wins').not.toBe(0);
  mmio.write(PCI_ECAM.base + 0x8000 + BAR0, 4, 0xc000_0000);
  mmio.write(PCI_ECAM.base + 0x10000 + BAR0, 4, 0xc000_0000);
  expect(mmio.read(0xc000_0004, 4)).toBe(4);
});

test('no sequence of accesses throws, or reads a value wider than the access', () => {
  const size = fc.constantFrom<AccessSize>(1, 2, 4);
  const address = fc.oneof(
    fc.nat(0x1_7fff).map((offset) => PCI_ECAM.base + offset),
    fc.nat(0x100).map((offset) => PCI_ECAM.base + 0x8000 + offset),
    fc.nat(0x4100).map((offset) => PCI_MMIO32.base + offset),
    fc.nat(0xffff_ffff),
  );
  const value = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0, 2, 6, 0xffff_ffff, PCI_MMIO32.base));
  const access = fc.record({ bus: fc.boolean(), write: fc.boolean(), address, port: fc.nat(7), size, value });
  fc.assert(
    fc.property(fc.array(access, { maxLength: 200 }), (accesses) => {
      const { pio, mmio } = machine();
      for (const { bus, write, address, port, size, value } of accesses) {
        const [space, where] = bus ? [mmio, address] : [pio, 0xcf8 + port];
        const narrowed = size === 4 ? value : value % 2 ** (8 * size);
        if (write) space.write(where, size, narrowed);
        else {
          const result = space.read(where, size);
          expect(Number.isInteger(result) && result >= 0 && result < 2 ** (8 * size)).toBe(true);
        }
      }
    }),
  );
});
