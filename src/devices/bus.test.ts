import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Bus } from './bus.js';
import type { AccessSize, BusDevice } from './device.js';
import { StateArena } from './state.js';

const arena = new StateArena();

function device(name: string, log: unknown[] = []): BusDevice {
  return {
    name,
    state: arena.claim(name, 1),
    read: (offset, size) => {
      log.push([name, 'read', offset, size]);
      return offset;
    },
    write: (offset, size, value) => {
      log.push([name, 'write', offset, size, value]);
    },
  };
}

test('an access reaches the device whose window holds its address, with the offset there', () => {
  const log: unknown[] = [];
  const bus = new Bus('PIO');
  bus.add(0x3f8, 8, device('b', log));
  bus.add(0x60, 1, device('a', log));
  expect(bus.read(0x3fd, 1)).toBe(5);
  bus.write(0x60, 2, 0xabcd);
  bus.write(0x3ff, 1, 7);
  expect(log).toEqual([
    ['b', 'read', 5, 1],
    ['a', 'write', 0, 2, 0xabcd],
    ['b', 'write', 7, 1, 7],
  ]);
});

test.each([
  [1, 0xff],
  [2, 0xffff],
  [4, 0xffff_ffff],
] satisfies [AccessSize, number][])('nothing reads as all ones in %i bytes', (size, ones) => {
  expect(new Bus('MMIO').read(0xd000_0000, size)).toBe(ones);
  expect(() => new Bus('MMIO').write(0xd000_0000, size, 1)).not.toThrow();
});

test('windows that overlap are a mistake of composition, named by both devices', () => {
  const bus = new Bus('MMIO');
  bus.add(0x1000, 0x1000, device('first'));
  expect(() => bus.add(0x1fff, 1, device('second'))).toThrow(/second overlaps first/);
  expect(() => bus.add(0x2000, 1, device('third'))).not.toThrow();
});

test('a resolver answers where no window is, and moves freely', () => {
  const log: unknown[] = [];
  const bus = new Bus('MMIO');
  const moving = device('moving', log);
  let base = 0xc000_0000;
  bus.add(0xd000_0000, 0x1000, device('fixed', log));
  bus.addResolver({
    resolve: (address) =>
      address >= base && address < base + 0x1000 ? { device: moving, offset: address - base } : undefined,
  });
  expect(bus.read(0xc000_0010, 4)).toBe(0x10);
  base = 0xc800_0000;
  expect(bus.read(0xc000_0010, 4)).toBe(0xffff_ffff);
  expect(bus.read(0xc800_0020, 4)).toBe(0x20);
  expect(bus.read(0xd000_0004, 4)).toBe(4);
});

test('the lock is held during an access and free after it, also when the device throws', () => {
  const bus = new Bus('PIO');
  const broken = device('broken');
  const lockWord = () => new Int32Array(broken.state.u32.buffer, broken.state.u32.byteOffset - 4, 1)[0];
  let held = 0;
  broken.read = () => {
    held = lockWord();
    throw new Error('a defect');
  };
  bus.add(0, 1, broken);
  expect(() => bus.read(0, 1)).toThrow('a defect');
  expect([held, lockWord()]).toEqual([1, 0]);
});

test('any sequence of addresses finds what a plain search would find', () => {
  const bus = new Bus('MMIO');
  const windows = [
    { base: 0x100, size: 0x10 },
    { base: 0x110, size: 1 },
    { base: 0x200, size: 0x80 },
  ];
  for (const { base, size } of windows) bus.add(base, size, device(`at ${base}`));
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0xf0, max: 0x290 }), { maxLength: 50 }), (addresses) => {
      for (const address of addresses) {
        const window = windows.find(({ base, size }) => address >= base && address < base + size);
        expect(bus.read(address, 4)).toBe(window === undefined ? 0xffff_ffff : address - window.base);
      }
    }),
  );
});
