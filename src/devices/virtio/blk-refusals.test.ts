import { readdirSync, readFileSync, statSync } from 'node:fs';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  Bench,
  DATA,
  DISCARD,
  FLUSH,
  GET_ID,
  HEADER,
  IN,
  IOERR,
  MIB,
  OK,
  OUT,
  STATUS,
  UNSUPP,
  WRITE_ZEROES,
} from './blk-test-bench.js';

describe('refusals', () => {
  let bench: Bench;
  beforeAll(() => {
    bench = new Bench(MIB);
    return () => bench[Symbol.dispose]();
  });

  test.each([
    ['a sector just behind the end', IN, 2048, 512, IOERR],
    ['a request that ends behind the end', IN, 2047, 1024, IOERR],
    ['a sector number that overflows bytes', IN, 2 ** 55, 512, IOERR],
    ['the largest sector number', IN, 2 ** 64 - 2048, 512, IOERR],
    ['a length that is no multiple of a sector', IN, 0, 513, IOERR],
    ['a read of nothing', IN, 0, 0, OK],
    ['an unknown type', 0x7777, 0, 512, UNSUPP],
    ['a SCSI command', 2, 0, 512, UNSUPP],
  ])('%s', (_name, type, sector, length, status) => {
    const data = length === 0 ? [] : [{ gpa: DATA, length, write: true }];
    expect(bench.request(type, sector, data)).toBe(status);
  });

  test.each([
    ['a write behind the end', 2048, 512, IOERR],
    ['a write of half a sector', 0, 256, IOERR],
  ])('%s', (_name, sector, length, status) => {
    expect(bench.request(OUT, sector, [{ gpa: DATA, length }])).toBe(status);
  });

  test('a write whose data is in writable buffers has no data, and harms nothing', () => {
    expect(bench.request(OUT, 0, [{ gpa: DATA, length: 512, write: true }])).toBe(OK);
    expect(readFileSync(bench.path).every((byte) => byte === 0)).toBe(true);
  });

  test.each([
    ['a range behind the end', DISCARD, 2000, 100, 0, IOERR],
    ['a range whose end overflows', WRITE_ZEROES, 2 ** 63, 0xffff_ffff, 0, IOERR],
    ['a range that is too long', WRITE_ZEROES, 0, 0xffff_ffff, 0, IOERR],
    ['a discard with UNMAP', DISCARD, 0, 8, 1, UNSUPP],
    ['unknown flags', WRITE_ZEROES, 0, 8, 2, UNSUPP],
    ['an empty range', DISCARD, 0, 0, 0, OK],
  ])('%s', (_name, type, sector, sectors, flags, status) => {
    expect(bench.range(type, sector, sectors, flags)).toBe(status);
  });

  test('a range that is cut off, and more ranges than were offered', () => {
    expect(bench.request(DISCARD, 0, [{ gpa: DATA, length: 15 }])).toBe(IOERR);
    expect(bench.request(DISCARD, 0, [{ gpa: DATA, length: 32 }])).toBe(UNSUPP);
  });

  test('a read-only disk refuses everything that writes', () => {
    using ro = new Bench(MIB, { readOnly: true });
    expect(ro.request(OUT, 0, [{ gpa: DATA, length: 512 }])).toBe(IOERR);
    expect(ro.range(DISCARD, 0, 8)).toBe(IOERR);
    expect(ro.range(WRITE_ZEROES, 0, 8)).toBe(IOERR);
    expect(ro.request(FLUSH, 0)).toBe(OK);
    expect(ro.request(IN, 0, [{ gpa: DATA, length: 512, write: true }])).toBe(OK);
  });

  test.each([
    ['no room for the status', [{ gpa: HEADER, length: 16 }]],
    [
      'a header that is cut off',
      [
        { gpa: HEADER, length: 15 },
        { gpa: STATUS, length: 1, write: true },
      ],
    ],
    ['only writable buffers', [{ gpa: DATA, length: 512, write: true }]],
    [
      'a writable header',
      [
        { gpa: HEADER, length: 16, write: true },
        { gpa: STATUS, length: 1, write: true },
      ],
    ],
    [
      'a buffer outside of RAM',
      [
        { gpa: HEADER, length: 16 },
        { gpa: 2 ** 40, length: 512, write: true },
      ],
    ],
    [
      'a buffer of 4 GiB',
      [
        { gpa: HEADER, length: 16 },
        { gpa: DATA, length: 0xffff_ffff, write: true },
      ],
    ],
  ])('%s fails the device', (_name, buffers) => {
    using own = new Bench(MIB);
    own.driver.add(buffers);
    own.host.kick(0);
    expect(own.host.failures.length).toBe(1);
    expect(own.driver.used()).toEqual([]);
  });

  test('a descriptor loop fails the device and leaves the file alone', () => {
    using own = new Bench(MIB);
    own.driver.writeDescriptor(own.driver.descriptors, 0, { gpa: HEADER, length: 16 }, 1, 1);
    own.driver.writeDescriptor(own.driver.descriptors, 1, { gpa: DATA, length: 16 }, 1, 0);
    own.driver.expose(0);
    own.host.kick(0);
    expect(own.host.failures.length).toBe(1);
  });

  test('random chains never throw out of the plane, and every answer has a status', () => {
    const buffer = fc.record({
      gpa: fc.oneof(fc.integer({ min: HEADER, max: HEADER + 64 }), fc.nat(40 * MIB)),
      length: fc.oneof(fc.constantFrom(1, 16, 512, 4096), fc.nat(0xffff)),
      write: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 64, maxLength: 96 }),
        fc.constantFrom(IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, 99),
        fc.array(buffer, { minLength: 1, maxLength: 6 }),
        (noise, type, buffers) => {
          using own = new Bench(MIB);
          own.ram.write(HEADER, noise);
          own.ram.writeU32(HEADER, type);
          own.ram.writeU32(HEADER + 12, 0);
          const sorted = [...buffers].sort((a, b) => Number(a.write) - Number(b.write));
          own.driver.add(sorted);
          own.host.kick(0);
          own.host.run(() => own.driver.used().length + own.host.failures.length > 0);
          expect(statSync(own.path).size).toBe(MIB);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('limits', () => {
  test('a guest that offers one chain over and over is never given more slots than there are', () => {
    using bench = new Bench(MIB, { aio: 'io_uring', queueSize: 8 });
    const header = bench.header(OUT, 0);
    bench.driver.writeDescriptor(bench.driver.descriptors, 0, header, 1, 1);
    bench.driver.writeDescriptor(bench.driver.descriptors, 1, { gpa: DATA, length: 65536 }, 1, 2);
    bench.driver.writeDescriptor(bench.driver.descriptors, 2, { gpa: STATUS, length: 1, write: true }, 0, 0);
    let answers = 0;
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 8; i++) bench.driver.expose(0);
      bench.host.kick(0);
      answers += bench.driver.used().length;
      bench.host.run(() => {
        answers += bench.driver.used().length;
        return answers === (round + 1) * 8;
      });
    }
    expect(bench.host.failures).toEqual([]);
  });

  test('a driver that does not flush gets every write through to the medium', () => {
    for (const aio of ['auto', 'io_uring', 'sync'] as const) {
      using bench = new Bench(MIB, { aio, features: 0 });
      bench.ram.bytes(DATA, 4096).fill(7);
      expect(bench.request(OUT, 8, [{ gpa: DATA, length: 4096 }])).toBe(OK);
      expect(readFileSync(bench.path)[4096]).toBe(7);
    }
  });

  test('disposing with requests in flight waits for them and leaves no descriptor', () => {
    const count = () => readdirSync('/proc/self/fd').length;
    const before = count();
    {
      using bench = new Bench(16 * MIB, { aio: 'io_uring' });
      for (let i = 0; i < 4; i++) {
        bench.driver.add([
          bench.header(OUT, i * 4096, HEADER + i * 16),
          { gpa: DATA, length: 2 * MIB },
          { gpa: STATUS + i, length: 1, write: true },
        ]);
      }
      bench.host.kick(0);
    }
    expect(count()).toBe(before);
  });

  test.each(['memory', 'local', 'unknown'] as const)('an image on a medium of kind %s works', (medium) => {
    using bench = new Bench(MIB, { info: { medium } });
    bench.ram.bytes(DATA, 131072).fill(9);
    expect(bench.request(OUT, 8, [{ gpa: DATA, length: 131072 }])).toBe(OK);
    expect(bench.request(OUT, 1024, [{ gpa: DATA, length: 512 }])).toBe(OK);
    expect(bench.request(FLUSH, 0)).toBe(OK);
    expect(bench.request(IN, 8, [{ gpa: DATA + MIB, length: 131072, write: true }])).toBe(OK);
    expect(bench.ram.bytes(DATA + MIB, 131072).every((byte) => byte === 9)).toBe(true);
  });
});
