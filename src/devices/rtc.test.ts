import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { AccessSize } from './device.js';
import { Rtc } from './rtc.js';
import { read, testContext, write } from './testing.js';

const NOON = Date.UTC(2024, 1, 29, 13, 7, 59, 100);

function clock(start = NOON) {
  const host = { now: start };
  const context = testContext();
  const rtc = new Rtc(context, () => host.now);
  return {
    host,
    rtc,
    context,
    get: (register: number) => {
      write(rtc, 0, register);
      return read(rtc, 1);
    },
    set: (register: number, value: number) => {
      write(rtc, 0, register);
      write(rtc, 1, value);
    },
  };
}

/** Seconds, minutes, hours, weekday, day, month, year, century. */
const FIELDS = [0, 2, 4, 6, 7, 8, 9, 0x32];

test('shows the host’s time in BCD and 24 hours after reset', () => {
  const { get } = clock();
  expect(FIELDS.map(get)).toEqual([0x59, 0x07, 0x13, 0x05, 0x29, 0x02, 0x24, 0x20]);
  expect([get(0x0a), get(0x0b), get(0x0c), get(0x0d)]).toEqual([0x26, 0x02, 0x00, 0x80]);
});

test('register B selects binary and 12 hours', () => {
  const { get, set, host } = clock();
  set(0x0b, 0x04);
  expect([get(0), get(4), get(9), get(0x32)]).toEqual([59, 0x80 | 1, 24, 20]);
  host.now = Date.UTC(2024, 0, 1, 0, 30);
  expect(get(4), 'midnight is 12 AM').toBe(12);
  host.now = Date.UTC(2024, 0, 1, 12, 30);
  expect(get(4), 'noon is 12 PM').toBe(0x80 | 12);
});

test('bit 7 of the index masks NMIs only', () => {
  const { rtc } = clock();
  write(rtc, 0, 0x80 | 0x0d);
  expect(read(rtc, 1)).toBe(0x80);
  expect(read(rtc, 0), 'the index cannot be read').toBe(0xff);
});

test('an update in progress shows shortly before each second and never stays', () => {
  const { get, host } = clock();
  host.now = NOON - 100 - 1;
  expect(get(0x0a) & 0x80).toBe(0x80);
  host.now = NOON - 100;
  expect(get(0x0a) & 0x80).toBe(0);
});

test('a guest that saw no update reads one consistent time, however slow its accesses are', () => {
  const { get, host } = clock(Date.UTC(2023, 11, 31, 23, 59, 59, 990));
  expect(get(0x0a) & 0x80).toBe(0);
  const fields = FIELDS.map((register) => {
    host.now += 5;
    return get(register);
  });
  expect(fields).toEqual([0x59, 0x59, 0x23, 0x01, 0x31, 0x12, 0x23, 0x20]);
  host.now += 100;
  expect(get(9)).toBe(0x24);
});

test('setting the clock keeps an offset to the host', () => {
  const { get, set, host } = clock();
  set(0x0b, 0x82);
  const values = [0x30, 0x45, 0x08, 0x04, 0x15, 0x03, 0x30, 0x20];
  FIELDS.forEach((register, i) => {
    set(register, values[i]);
  });
  host.now += 60_000;
  expect(get(0), 'stopped while SET').toBe(0x30);
  set(0x0b, 0x02);
  host.now += 31_000;
  expect(FIELDS.map(get)).toEqual([0x01, 0x46, 0x08, 0x06, 0x15, 0x03, 0x30, 0x20]);
});

test('a single field can be set while the clock runs', () => {
  const { get, set } = clock();
  set(4, 0x20);
  expect([get(0), get(2), get(4), get(7)]).toEqual([0x59, 0x07, 0x20, 0x29]);
});

test('CMOS memory and alarm registers keep their bytes, C and D do not', () => {
  const { get, set } = clock();
  for (const register of [0x01, 0x03, 0x05, 0x0e, 0x7f]) set(register, 0x5a);
  expect([0x01, 0x03, 0x05, 0x0e, 0x7f].map(get)).toEqual([0x5a, 0x5a, 0x5a, 0x5a, 0x5a]);
  set(0x0c, 0xff);
  set(0x0d, 0x00);
  expect([get(0x0c), get(0x0d)]).toEqual([0, 0x80]);
});

test('another thread sees the clock that the guest set', () => {
  const { context, set, host } = clock();
  set(4, 0x20);
  const other = new Rtc(testContext({ buffer: context.arena.buffer, isOwner: false }), () => host.now);
  write(other, 0, 4);
  expect(read(other, 1)).toBe(0x20);
});

test('no sequence of accesses throws, or reads a value wider than the access', () => {
  const size = fc.constantFrom<AccessSize>(1, 2, 4);
  const access = fc.record({
    write: fc.boolean(),
    offset: fc.nat(1),
    register: fc.oneof(fc.nat(0x0d), fc.constant(0x32), fc.nat(255)),
    size,
    value: fc.nat(0xffff_ffff),
    pass: fc.nat(5000),
  });
  fc.assert(
    fc.property(fc.array(access, { maxLength: 200 }), (accesses) => {
      const { rtc, host } = clock();
      for (const access of accesses) {
        host.now += access.pass;
        write(rtc, 0, access.register & 0xff);
        const { offset, size, value } = access;
        if (access.write) write(rtc, offset, size === 4 ? value : value % 2 ** (8 * size), size);
        const result = read(rtc, offset, size);
        expect(Number.isInteger(result) && result >= 0 && result < 2 ** (8 * size)).toBe(true);
      }
    }),
  );
});
