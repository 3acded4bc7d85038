import { randomBytes } from 'node:crypto';
import { readFileSync, statSync, truncateSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Aio } from './blk-io.js';
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
  reuse,
  STATUS,
  sha,
  WRITE_ZEROES,
} from './blk-test-bench.js';
import type { TestBuffer } from './plane-test-host.js';

describe.each<Aio>(['auto', 'io_uring', 'sync'])('requests with aio=%s', (aio) => {
  const content = randomBytes(4 * MIB);

  test('a read returns the image and counts the data and the status byte', () => {
    using bench = new Bench(content, { aio });
    const buffers = [
      bench.header(IN, 3),
      { gpa: DATA, length: 4096, write: true },
      { gpa: STATUS, length: 1, write: true },
    ];
    expect(bench.run(buffers)).toBe(4097);
    expect(sha(bench.ram.bytes(DATA, 4096))).toBe(sha(content.subarray(1536, 1536 + 4096)));
    expect(bench.ram.readU8(STATUS)).toBe(OK);
    expect(bench.host.interrupts[0]).toBe(1);
  });

  test('what is written is read back, and is in the file after a flush', () => {
    using bench = new Bench(8 * MIB, { aio });
    bench.ram.write(DATA, content);
    for (let i = 0; i < 16; i++) {
      const part = { gpa: DATA + i * 262144, length: 262144 };
      expect(bench.request(OUT, i * 512, [part])).toBe(OK);
    }
    expect(bench.request(FLUSH, 0)).toBe(OK);
    expect(sha(readFileSync(bench.path).subarray(0, content.length))).toBe(sha(content));
    bench.ram.bytes(DATA, content.length).fill(0);
    for (let i = 0; i < 16; i++) {
      const part = { gpa: DATA + i * 262144, length: 262144, write: true };
      expect(bench.request(IN, i * 512, [part])).toBe(OK);
    }
    expect(sha(bench.ram.bytes(DATA, content.length))).toBe(sha(content));
  });

  test('a batch of requests is answered whole, each with its own data', () => {
    using bench = new Bench(content, { aio });
    const heads = new Map<number, number>();
    for (let i = 0; i < 64; i++) {
      const status = STATUS + i;
      const sector = (i * 37) % 8000;
      const head = bench.driver.add([
        bench.header(IN, sector, HEADER + i * 16),
        { gpa: DATA + i * 8192, length: 8192, write: true },
        { gpa: status, length: 1, write: true },
      ]);
      heads.set(head, sector);
    }
    bench.host.kick(0);
    const used = bench.driver.used();
    bench.host.run(() => {
      used.push(...bench.driver.used());
      return used.length === 64;
    });
    expect(new Set(used.map(({ head }) => head))).toEqual(new Set(heads.keys()));
    for (let i = 0; i < 64; i++) {
      const sector = (i * 37) % 8000;
      const expected = content.subarray(sector * 512, sector * 512 + 8192);
      expect(bench.ram.readU8(STATUS + i)).toBe(sector + 16 <= 8192 ? OK : IOERR);
      expect(sha(bench.ram.bytes(DATA + i * 8192, 8192))).toBe(sha(expected));
    }
  });

  test('get-id returns the serial number, cut to 20 bytes', () => {
    using bench = new Bench(MIB, { aio });
    expect(bench.request(GET_ID, 0, [{ gpa: DATA, length: 20, write: true }])).toBe(OK);
    expect(Buffer.from(bench.ram.bytes(DATA, 20)).toString()).toBe('SERIAL-0123456789-TO');
  });

  test('discard frees blocks, write-zeroes zeroes them, with and without unmapping', () => {
    using bench = new Bench(content, { aio });
    const before = statSync(bench.path).blocks;
    expect(bench.range(DISCARD, 0, 2048)).toBe(OK);
    expect(statSync(bench.path).blocks).toBeLessThan(before);
    expect(bench.range(WRITE_ZEROES, 2048, 2048, 1)).toBe(OK);
    expect(bench.range(WRITE_ZEROES, 4096 + 1, 1001)).toBe(OK);
    const now = readFileSync(bench.path);
    expect(now.length).toBe(content.length);
    expect(now.subarray(0, 4096 * 512).every((byte) => byte === 0)).toBe(true);
    expect(sha(now.subarray(4096 * 512, 4097 * 512))).toBe(sha(content.subarray(4096 * 512, 4097 * 512)));
    expect(now.subarray(4097 * 512, 5098 * 512).every((byte) => byte === 0)).toBe(true);
    expect(sha(now.subarray(5098 * 512))).toBe(sha(content.subarray(5098 * 512)));
  });

  test('an image that became shorter fails the read, not the machine', () => {
    using bench = new Bench(content, { aio });
    truncateSync(bench.path, MIB);
    expect(bench.request(IN, 2048, [{ gpa: DATA, length: 4096, write: true }])).toBe(IOERR);
    // Half of it is still there.
    expect(bench.request(IN, 2046, [{ gpa: DATA, length: 4096, write: true }])).toBe(IOERR);
    expect(bench.request(IN, 0, [{ gpa: DATA, length: 4096, write: true }])).toBe(OK);
    expect(bench.host.failures).toEqual([]);
  });

  test('a reset waits for what is in flight, answers none of it, and the device works again after it', () => {
    using bench = new Bench(64 * MIB, { aio });
    for (let i = 0; i < 8; i++) {
      bench.driver.add([
        bench.header(OUT, i * 2048, HEADER + i * 16),
        { gpa: DATA, length: 2 * MIB },
        { gpa: STATUS + i, length: 1, write: true },
      ]);
    }
    bench.host.kick(0);
    const answered = bench.driver.used().length;
    const state = bench.host.reset();
    bench.host.run(() => state.done);
    expect(bench.driver.used().length).toBeLessThanOrEqual(8 - answered);
    bench.host.start(reuse(bench.host));
    expect(bench.request(IN, 0, [{ gpa: DATA, length: 512, write: true }])).toBe(OK);
  });
});

describe('framing', () => {
  const content = randomBytes(MIB);

  test('header, data and status may be split anywhere', () => {
    using bench = new Bench(content);
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.nat(100),
        fc.integer({ min: 1, max: 8 }),
        fc.array(fc.nat(5000), { maxLength: 12 }),
        fc.boolean(),
        (write, sector, sectors, cuts, indirect) => {
          const bytes = sectors * 512;
          bench.header(write ? OUT : IN, sector, HEADER);
          // Readable and writable parts lie behind each other in memory; every cut makes a new buffer.
          const split = (gpa: number, length: number, isWrite: boolean): TestBuffer[] => {
            const places = [...new Set(cuts.map((cut) => cut % length))].filter((at) => at > 0);
            const edges = [0, ...places.sort((a, b) => a - b), length];
            return edges
              .slice(1)
              .map((end, i) => ({ gpa: gpa + edges[i], length: end - edges[i], write: isWrite }));
          };
          const payload = randomBytes(bytes);
          const writableAt = DATA + MIB;
          if (write) bench.ram.write(HEADER + 16, payload);
          const readable = split(HEADER, write ? 16 + bytes : 16, false);
          const writable = split(writableAt, write ? 1 : bytes + 1, true);
          const length = bench.run([...readable, ...writable], indirect);
          expect(bench.ram.readU8(writableAt + (write ? 0 : bytes))).toBe(OK);
          expect(length).toBe(write ? 1 : bytes + 1);
          const file = readFileSync(bench.path).subarray(sector * 512, sector * 512 + bytes);
          expect(sha(file)).toBe(sha(write ? payload : bench.ram.bytes(writableAt, bytes)));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('a chain of 1,024 buffers that are not neighbours is one request', () => {
    using bench = new Bench(content, { aio: 'io_uring' });
    const data = Array.from({ length: 1022 }, (_, i) => ({ gpa: DATA + i * 1024, length: 512, write: true }));
    const buffers = [bench.header(IN, 0), ...data, { gpa: STATUS, length: 1, write: true }];
    expect(bench.run(buffers, true)).toBe(1022 * 512 + 1);
    const seen = Buffer.concat(data.map(({ gpa }) => Uint8Array.from(bench.ram.bytes(gpa, 512))));
    expect(sha(seen)).toBe(sha(content.subarray(0, 1022 * 512)));
  });

  test('buffers that overlap each other or the status harm nobody but the guest', () => {
    using bench = new Bench(content);
    const buffers = [
      bench.header(IN, 0),
      { gpa: DATA, length: 512, write: true },
      { gpa: DATA, length: 512, write: true },
      { gpa: DATA + 100, length: 1, write: true },
    ];
    expect(bench.run(buffers)).toBe(1025);
    expect(bench.ram.readU8(DATA + 100)).toBe(OK);
  });
});
