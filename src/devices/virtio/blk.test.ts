import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EventfdOwner } from '../context.js';
import { StateArena } from '../state.js';
import { blkConfigSpace, VirtioBlk } from './blk.js';
import type { Aio } from './blk-io.js';
import {
  BLK_CONFIG,
  FLAG_UNMAP,
  HEADER_SIZE,
  ID_SIZE,
  RANGE_SIZE,
  VIRTIO_BLK_F,
  VIRTIO_BLK_S,
  VIRTIO_BLK_T,
} from './blk-request.js';
import { CONSOLE_CONFIG, CONTROL_SIZE, VIRTIO_CONSOLE, VIRTIO_CONSOLE_F } from './console-protocol.js';
import {
  DiskImage,
  type DiskInfo,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  RWF_NOWAIT,
} from './disk-image.js';
import { type TestBuffer, TestHost } from './plane-test-host.js';

const MIB = 2 ** 20;
/** Test memory above the rings. */
const HEADER = 4 * MIB;
const STATUS = HEADER + 4096;
const DATA = 8 * MIB;
const QUEUE_SIZE = 256;

const folder = mkdtempSync(join(tmpdir(), 'tvmm-blk-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;

function makeImage(content: Uint8Array | number): string {
  const path = join(folder, `image${files++}`);
  writeFileSync(path, typeof content === 'number' ? '' : content);
  if (typeof content === 'number') truncateSync(path, content);
  return path;
}

interface Options {
  aio?: Aio;
  readOnly?: boolean;
  features?: number;
  queueSize?: number;
  info?: Partial<DiskInfo>;
}

/** A started device over an image. */
class Bench implements Disposable {
  readonly disk: DiskImage;
  readonly host: TestHost;
  readonly #eventfds = new EventfdOwner();
  readonly path: string;

  constructor(content: Uint8Array | number, options: Options = {}) {
    this.path = makeImage(content);
    this.disk = DiskImage.open(this.path, { readOnly: options.readOnly });
    const disk = { ...this.disk.info, ...options.info };
    const queueSize = options.queueSize ?? QUEUE_SIZE;
    this.host = new TestHost([queueSize]);
    const device = new VirtioBlk(
      { arena: new StateArena(), eventfds: this.#eventfds, isOwner: true },
      { id: 'drive0', disk, aio: options.aio, queueSize, serial: 'SERIAL-0123456789-TOO-LONG' },
    );
    this.host.start(device.createDataPlane(this.host), options.features);
  }

  get ram() {
    return this.host.ram;
  }
  get driver() {
    return this.host.drivers[0];
  }

  header(type: number, sector: number, at = HEADER): TestBuffer {
    this.ram.writeU32(at, type);
    this.ram.writeU32(at + 4, 0);
    this.ram.writeU64(at + 8, sector);
    return { gpa: at, length: 16 };
  }

  /** Runs one chain to its end; its used length. */
  run(buffers: readonly TestBuffer[], indirect = false): number {
    if (indirect) this.driver.addIndirect(buffers);
    else this.driver.add(buffers);
    this.host.kick(0);
    let used = this.driver.used();
    this.host.run(() => {
      used = [...used, ...this.driver.used()];
      return used.length > 0 || this.host.failures.length > 0;
    });
    return used[0]?.length ?? -1;
  }

  /** A request in the usual framing: header, data, status. Returns the status byte. */
  request(type: number, sector: number, data: TestBuffer[] = []): number {
    this.ram.writeU8(STATUS, 0xee);
    this.run([this.header(type, sector), ...data, { gpa: STATUS, length: 1, write: true }]);
    return this.ram.readU8(STATUS);
  }

  /** DISCARD or WRITE_ZEROES. */
  range(type: number, sector: number, sectors: number, flags = 0): number {
    this.ram.writeU64(DATA, sector);
    this.ram.writeU32(DATA + 8, sectors);
    this.ram.writeU32(DATA + 12, flags);
    return this.request(type, 0, [{ gpa: DATA, length: 16 }]);
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
    this.disk[Symbol.dispose]();
    this.#eventfds[Symbol.dispose]();
  }
}

const { IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES } = VIRTIO_BLK_T;
const OK = 0;
const IOERR = 1;
const UNSUPP = 2;
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

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

/** The plane that the host has already. */
function reuse(host: TestHost) {
  const plane = host.plane;
  if (plane === undefined) throw new Error('no plane');
  return plane;
}

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

test('numbers and offsets are what the kernel headers say', () => {
  const consoleConfig = Object.fromEntries(
    Object.entries(CONSOLE_CONFIG).filter(([name]) => name !== 'size'),
  );
  const consts = {
    ...prefixed('VIRTIO_BLK_F_', VIRTIO_BLK_F),
    ...prefixed('VIRTIO_BLK_T_', VIRTIO_BLK_T),
    ...prefixed('VIRTIO_BLK_S_', VIRTIO_BLK_S),
    ...prefixed('VIRTIO_CONSOLE_F_', VIRTIO_CONSOLE_F),
    ...prefixed('VIRTIO_CONSOLE_', VIRTIO_CONSOLE),
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
    RWF_NOWAIT,
    'sizeof(struct virtio_blk_outhdr)': HEADER_SIZE,
    'sizeof(struct virtio_blk_discard_write_zeroes)': RANGE_SIZE,
    'sizeof(struct virtio_console_config)': CONSOLE_CONFIG.size,
    'sizeof(struct virtio_console_control)': CONTROL_SIZE,
    VIRTIO_BLK_ID_BYTES: ID_SIZE,
    VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP: FLAG_UNMAP,
  };
  const offsets = [
    ...Object.entries(BLK_CONFIG)
      .filter(([name]) => name !== 'size')
      .map(([name, value]) => [`offsetof(struct virtio_blk_config, ${name})`, value] as const),
    ...Object.entries(consoleConfig).map(
      ([name, value]) => [`offsetof(struct virtio_console_config, ${name})`, value] as const,
    ),
  ];
  const all = [...Object.entries(consts), ...offsets];
  const includes = [
    'stdio.h',
    'stddef.h',
    'linux/virtio_blk.h',
    'linux/virtio_console.h',
    'linux/falloc.h',
    'linux/fs.h',
  ];
  const head = includes.map((name) => `#include <${name}>\n`).join('');
  const body = all.map(([name]) => `printf("%llu\\n", (unsigned long long)(${name}));`).join('\n');
  writeFileSync(join(folder, 'facts.c'), `${head}int main(void){${body}return 0;}\n`);
  execFileSync('gcc', ['-o', join(folder, 'facts'), join(folder, 'facts.c')]);
  const theirs = execFileSync(join(folder, 'facts'), { encoding: 'utf8' }).trim().split('\n').map(Number);
  expect(all).toEqual(all.map(([name], i) => [name, theirs[i]]));
});

function prefixed(prefix: string, table: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(table).map(([name, value]) => [prefix + name, value]));
}

describe('the model', () => {
  const disk: DiskInfo = {
    path: 'x',
    fd: -1,
    sectors: 0x1_2345_6789,
    readOnly: false,
    blockSize: 512,
    discard: true,
    medium: 'cached',
  };
  function model(info: DiskInfo): VirtioBlk {
    using eventfds = new EventfdOwner();
    return new VirtioBlk({ arena: new StateArena(), eventfds, isOwner: true }, { id: 'drive0', disk: info });
  }

  test('the configuration space has the fields of section 5.2.4', () => {
    const device = model(disk);
    expect(device.readConfig(BLK_CONFIG.capacity, 4)).toBe(0x2345_6789);
    expect(device.readConfig(BLK_CONFIG.capacity + 4, 4)).toBe(1);
    expect(device.readConfig(BLK_CONFIG.seg_max, 4)).toBe(510);
    expect(device.readConfig(BLK_CONFIG.blk_size, 4)).toBe(512);
    expect(device.readConfig(BLK_CONFIG.physical_block_exp, 1)).toBe(3);
    expect(device.readConfig(BLK_CONFIG.min_io_size, 2)).toBe(8);
    expect(device.readConfig(BLK_CONFIG.max_discard_seg, 4)).toBe(1);
    expect(device.readConfig(BLK_CONFIG.write_zeroes_may_unmap, 1)).toBe(1);
    expect(blkConfigSpace({ id: 'x', disk })).toHaveLength(60);
  });

  test('reads beyond the configuration space give zero', () => {
    const device = model(disk);
    for (const offset of [57, 60, 4096, 0xffff_fff0]) expect(device.readConfig(offset, 4)).toBe(0);
  });

  test('features follow the disk', () => {
    const has = (info: DiskInfo, bit: number) => (model(info).featuresLow & (1 << bit)) !== 0;
    expect(has(disk, VIRTIO_BLK_F.RO)).toBe(false);
    expect(has(disk, VIRTIO_BLK_F.DISCARD)).toBe(true);
    const readOnly = { ...disk, readOnly: true, discard: false };
    expect(has(readOnly, VIRTIO_BLK_F.RO)).toBe(true);
    expect(has(readOnly, VIRTIO_BLK_F.DISCARD)).toBe(false);
    expect(has(readOnly, VIRTIO_BLK_F.WRITE_ZEROES)).toBe(false);
  });
});
