import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ArrayRam } from '../../memory/fake-ram.js';
import { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from './constants.js';
import { type Buffer, GuestAllocator, GuestRing } from './guest-ring.js';
import { DescriptorChain, MAX_CHAIN, Virtqueue, VirtqueueError } from './queue.js';

const RAM = 2 ** 20;

function setUp(size = 8, options: { eventIdx?: boolean; indirect?: boolean } = {}) {
  const { eventIdx = true, indirect = true } = options;
  const ram = new ArrayRam(RAM);
  const allocator = new GuestAllocator();
  const ring = new GuestRing(ram, allocator, size, eventIdx);
  const { descriptors, driver, device } = ring;
  const queue = new Virtqueue(ram, { size, descriptors, driver, device, indirect, eventIdx });
  const chain = new DescriptorChain();
  return { ram, allocator, ring, queue, chain };
}

const buffers = fc
  .tuple(
    fc.array(fc.integer({ min: 1, max: 5000 }), { maxLength: 6 }),
    fc.array(fc.integer({ min: 1, max: 5000 }), { maxLength: 6 }),
  )
  .filter(([read, write]) => read.length + write.length > 0);

describe('a well-formed chain', () => {
  test('of any shape comes out as it was put in, direct or indirect, past the wrap of the indices', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(16, 32),
        fc.array(fc.tuple(buffers, fc.boolean()), { minLength: 1, maxLength: 60 }),
        (size, requests) => {
          const { ring, queue, chain } = setUp(size);
          for (const [[readLengths, writeLengths], indirect] of requests) {
            let gpa = 0x8000;
            const place = (write: boolean) => (length: number) => {
              gpa += length;
              return { gpa: gpa - length, length, write };
            };
            const sent: Buffer[] = [...readLengths.map(place(false)), ...writeLengths.map(place(true))];
            const head = ring.add(sent, indirect);
            expect(queue.pop(chain)).toBe(true);
            expect(chain.head).toBe(head);
            expect(chain.count).toBe(sent.length);
            expect(chain.readable).toBe(readLengths.length);
            expect(Array.from(chain.addresses.subarray(0, chain.count))).toEqual(sent.map((one) => one.gpa));
            expect(Array.from(chain.lengths.subarray(0, chain.count))).toEqual(sent.map((one) => one.length));
            const sum = (lengths: number[]) => lengths.reduce((a, b) => a + b, 0);
            expect([chain.readableBytes, chain.writableBytes]).toEqual([sum(readLengths), sum(writeLengths)]);
            queue.push(head, 7);
            expect(ring.takeUsed()).toEqual({ head, written: 7 });
            expect(queue.pop(chain)).toBe(false);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  test('is still found after 65536 others: the indices are 16 bits wide', () => {
    const { ring, queue, chain } = setUp(2);
    for (let i = 0; i < 65540; i++) {
      const head = ring.add([{ gpa: 0x8000, length: 1, write: true }]);
      if (!queue.pop(chain)) throw new Error(`chain ${i} was not found`);
      queue.push(chain.head, 1);
      if (ring.takeUsed()?.head !== head) throw new Error(`chain ${i} did not come back`);
    }
    expect(queue.nextAvail).toBe(4);
  });

  test('may have its indirect table at any address', () => {
    const { ring, queue, chain, ram } = setUp();
    for (const table of [0x9000, 0x9008, 0x9001, RAM - 32, RAM - 33]) {
      ring.writeDescriptor(ring.descriptors, 0, table, 32, VIRTQ_DESC_F_INDIRECT, 0);
      ram.write(table, new Uint8Array(32));
      ring.writeDescriptor(table, 0, 0xa000, 16, VIRTQ_DESC_F_NEXT, 1);
      ring.writeDescriptor(table, 1, 0xb000, 17, VIRTQ_DESC_F_WRITE, 0);
      ring.publish(0);
      expect(queue.pop(chain)).toBe(true);
      expect([chain.count, chain.addresses[0], chain.lengths[1]]).toEqual([2, 0xa000, 17]);
    }
  });

  test('can be put back and popped again', () => {
    const { ring, queue, chain } = setUp();
    const head = ring.add([{ gpa: 0x8000, length: 1, write: true }]);
    queue.pop(chain);
    queue.undoPop();
    expect(queue.pop(chain)).toBe(true);
    expect(chain.head).toBe(head);
  });

  test('may overlap itself and the rings: it is only memory', () => {
    const { ring, queue, chain } = setUp();
    ring.add([
      { gpa: ring.descriptors, length: 64, write: false },
      { gpa: ring.descriptors, length: 64, write: true },
      { gpa: ring.device, length: 16, write: true },
    ]);
    expect(queue.pop(chain)).toBe(true);
    expect(chain.count).toBe(3);
  });
});

describe('a chain that breaks the rules is refused', () => {
  const NEXT = VIRTQ_DESC_F_NEXT;
  const WRITE = VIRTQ_DESC_F_WRITE;
  const INDIRECT = VIRTQ_DESC_F_INDIRECT;
  /** Each entry: address, length, flags, next. */
  type Entry = [number, number, number, number];
  const cases: [string, Entry[], RegExp][] = [
    ['a descriptor that follows itself', [[0x8000, 1, NEXT, 0]], /loop/],
    [
      'two that follow each other',
      [
        [0x8000, 1, NEXT, 1],
        [0x8000, 1, NEXT, 0],
      ],
      /loop/,
    ],
    ['a next beyond the table', [[0x8000, 1, NEXT, 8]], /next 8/],
    ['a length of zero', [[0x8000, 0, 0, 0]], /length 0/],
    ['an address beyond RAM', [[RAM, 1, 0, 0]], /not in RAM/],
    ['a buffer that reaches out of RAM', [[RAM - 1, 2, 0, 0]], /not in RAM/],
    ['the highest address there is', [[2 ** 64, 0xffff_ffff, WRITE, 0]], /not in writable RAM/],
    [
      'a readable buffer behind a writable one',
      [
        [0x8000, 1, NEXT | WRITE, 1],
        [0x8000, 1, 0, 0],
      ],
      /readable buffer follows/,
    ],
    ['INDIRECT together with NEXT', [[0x8000, 16, INDIRECT | NEXT, 1]], /both INDIRECT and NEXT/],
    ['an indirect table of 0 bytes', [[0x8000, 0, INDIRECT, 0]], /whole descriptors/],
    ['an indirect table of 17 bytes', [[0x8000, 17, INDIRECT, 0]], /whole descriptors/],
    ['an indirect table outside RAM', [[RAM - 16, 32, INDIRECT, 0]], /not in RAM/],
  ];
  test.each(cases)('%s', (_name, entries, message) => {
    const { ring, queue, chain } = setUp();
    entries.forEach(([gpa, length, flags, next], i) => {
      ring.ram.writeU32(ring.descriptors + i * 16, gpa === 2 ** 64 ? 0xffff_ffff : gpa);
      ring.ram.writeU32(ring.descriptors + i * 16 + 4, gpa === 2 ** 64 ? 0xffff_ffff : 0);
      ring.ram.writeU32(ring.descriptors + i * 16 + 8, length);
      ring.ram.writeU32(ring.descriptors + i * 16 + 12, flags + next * 0x10000);
    });
    ring.publish(0);
    expect(() => queue.pop(chain)).toThrow(VirtqueueError);
    ring.publish(0);
    expect(() => queue.pop(chain)).toThrow(message);
  });

  test.each([
    ['a loop', NEXT, 0, /loop/],
    ['a next beyond it', NEXT, 2, /next 2 is beyond the table's 2/],
    ['another table', INDIRECT, 0, /in another/],
  ])('an indirect table with %s', (_name, flags, next, message) => {
    const { ring, queue, chain } = setUp();
    ring.writeDescriptor(ring.descriptors, 0, 0x9000, 32, INDIRECT, 0);
    ring.writeDescriptor(0x9000, 0, 0x8000, 16, flags, next);
    ring.publish(0);
    expect(() => queue.pop(chain)).toThrow(message);
  });

  test('an indirect table when the driver did not negotiate them', () => {
    const { ring, queue, chain } = setUp(8, { indirect: false });
    ring.add([{ gpa: 0x8000, length: 1, write: true }], true);
    expect(() => queue.pop(chain)).toThrow(/not negotiated/);
  });

  test(`more than ${MAX_CHAIN} buffers`, () => {
    const { ring, queue, chain } = setUp();
    const one: Buffer = { gpa: 0x8000, length: 1, write: true };
    ring.add(Array<Buffer>(MAX_CHAIN).fill(one), true);
    expect(queue.pop(chain)).toBe(true);
    ring.add(Array<Buffer>(MAX_CHAIN + 1).fill(one), true);
    expect(() => queue.pop(chain)).toThrow(/more than/);
  });

  test('more than 4 GiB in all', () => {
    const ranges = [{ gpa: 0, size: 2 ** 33, readOnly: false }];
    const small = new ArrayRam(RAM);
    const ram = new Proxy(small, {
      get: (target, key) => {
        if (key === 'ranges') return ranges;
        if (key === 'bytes') return (gpa: number) => small.bytes(Math.min(gpa, RAM), Math.max(0, RAM - gpa));
        const value: unknown = Reflect.get(target, key);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const ring = new GuestRing(small, new GuestAllocator(), 8, true);
    const queue = new Virtqueue(ram, { ...areas(ring), size: 8, indirect: true, eventIdx: true });
    const huge: Buffer = { gpa: 0, length: 0xffff_ffff, write: true };
    ring.add([huge, huge]);
    expect(() => queue.pop(new DescriptorChain())).toThrow(/longer than 4 GiB/);
  });

  test('a head beyond the queue', () => {
    const { ring, queue, chain } = setUp();
    ring.publish(8);
    expect(() => queue.pop(chain)).toThrow(/head 8/);
  });

  test('an available index that jumps by more than the queue holds', () => {
    const { ring, queue, chain } = setUp();
    ring.ram.writeU16(ring.driver + 2, 9);
    expect(() => queue.pop(chain)).toThrow(/9 chains/);
  });

  test('a writable buffer in read-only memory', () => {
    const ram = new ArrayRam(RAM);
    const ring = new GuestRing(ram, new GuestAllocator(), 8, true);
    const readOnly = new Proxy(ram, {
      get: (target, key) => {
        if (key === 'ranges')
          return [
            { gpa: 0, size: 0x8000, readOnly: false },
            { gpa: 0x8000, size: 0x1000, readOnly: true },
          ];
        const value: unknown = Reflect.get(target, key);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const queue = new Virtqueue(readOnly, { ...areas(ring), size: 8, indirect: true, eventIdx: true });
    const chain = new DescriptorChain();
    ring.add([{ gpa: 0x8000, length: 16, write: false }]);
    expect(queue.pop(chain)).toBe(true);
    ring.add([{ gpa: 0x8000, length: 16, write: true }]);
    expect(() => queue.pop(chain)).toThrow(/not in writable RAM/);
  });
});

function areas(ring: GuestRing) {
  return { descriptors: ring.descriptors, driver: ring.driver, device: ring.device };
}

describe('an impossible set-up is refused', () => {
  test.each([
    ['size 0', { size: 0 }, /power of two/],
    ['size 3', { size: 3 }, /power of two/],
    ['size 65536', { size: 65536 }, /power of two/],
    ['a misaligned descriptor table', { descriptors: 0x1008 }, /aligned to 16/],
    ['a misaligned driver area', { driver: 0x2001 }, /aligned to 2/],
    ['a misaligned device area', { device: 0x3002 }, /aligned to 4/],
    ['a descriptor table outside RAM', { descriptors: RAM - 16 }, /not in RAM/],
    ['a driver area outside RAM', { driver: 2 ** 63 }, /not in RAM/],
    ['a device area outside RAM', { device: RAM - 64 }, /not in RAM/],
  ])('%s', (_name, change, message) => {
    const setup = { size: 8, descriptors: 0x1000, driver: 0x2000, device: 0x3000 };
    const make = () =>
      new Virtqueue(new ArrayRam(RAM), { ...setup, ...change, indirect: true, eventIdx: true });
    expect(make).toThrow(VirtqueueError);
    expect(make).toThrow(message);
  });
});

test('garbage in all rings never does anything but throw a VirtqueueError or give a chain inside RAM', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16 * 8, maxLength: 16 * 8 }),
      fc.array(fc.nat(15), { minLength: 8, maxLength: 8 }),
      fc.nat(10),
      fc.boolean(),
      (table, heads, idx, small) => {
        const { ring, queue, chain, ram } = setUp();
        ram.write(ring.descriptors, table);
        // Mostly plausible addresses: pure noise would never get past the first check.
        if (small) {
          for (let i = 0; i < 8; i++) {
            ram.writeU32(ring.descriptors + i * 16 + 4, 0);
            ram.writeU16(ring.descriptors + i * 16 + 2, 0);
            ram.writeU16(ring.descriptors + i * 16 + 10, 0);
            ram.writeU16(ring.descriptors + i * 16 + 14, table[i * 16] % 9);
          }
        }
        heads.forEach((head, i) => {
          ram.writeU16(ring.driver + 4 + 2 * i, head % 9);
        });
        ram.writeU16(ring.driver + 2, idx);
        try {
          for (let popped = 0; queue.pop(chain); popped++) {
            expect(popped).toBeLessThan(8);
            for (let i = 0; i < chain.count; i++) {
              expect(ram.contains(chain.addresses[i], chain.lengths[i])).toBe(true);
            }
          }
        } catch (error) {
          expect(error).toBeInstanceOf(VirtqueueError);
        }
      },
    ),
    { numRuns: 500 },
  );
});

describe.each([true, false])('with EVENT_IDX %s', (eventIdx) => {
  const one: Buffer = { gpa: 0x8000, length: 1, write: true };

  test('a driver that asked for silence gets no interrupt', () => {
    const { ring, queue, chain } = setUp(8, { eventIdx });
    ring.disableInterrupts();
    ring.add([one]);
    queue.pop(chain);
    queue.push(chain.head, 0);
    expect(queue.needsInterrupt()).toBe(false);
  });

  test('a driver that asked gets one interrupt for what was pushed, and none for nothing', () => {
    const { ring, queue, chain } = setUp(8, { eventIdx });
    ring.enableInterrupts();
    for (let i = 0; i < 3; i++) ring.add([one]);
    while (queue.pop(chain)) queue.push(chain.head, 0);
    expect(queue.needsInterrupt()).toBe(true);
    expect(queue.needsInterrupt()).toBe(false);
  });

  test('a chain that arrives before notifications are on again is announced by their return', () => {
    const { ring, queue, chain } = setUp(8, { eventIdx });
    queue.disableNotifications();
    const before = ring.availIdx;
    ring.add([one]);
    queue.pop(chain);
    const second = ring.availIdx;
    ring.add([one]);
    if (!eventIdx) expect(ring.wantsKick(before)).toBe(false);
    expect(ring.wantsKick(second)).toBe(false);
    expect(queue.enableNotifications()).toBe(true);
    queue.pop(chain);
    expect(queue.enableNotifications()).toBe(false);
    const third = ring.availIdx;
    ring.add([one]);
    expect(ring.wantsKick(third)).toBe(true);
  });
});

test('with EVENT_IDX a driver is interrupted exactly when used passes the index it named', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 0xffff }),
      fc.array(fc.integer({ min: 1, max: 8 }), { maxLength: 20 }),
      (start, batches) => {
        const ram = new ArrayRam(RAM);
        const ring = new GuestRing(ram, new GuestAllocator(), 8, true);
        const at = { nextAvail: start, nextUsed: start };
        const queue = new Virtqueue(ram, { ...areas(ring), ...at, size: 8, indirect: true, eventIdx: true });
        let used = start;
        for (const [i, batch] of batches.entries()) {
          const event = (used + ((i * 3) % 10)) & 0xffff;
          ram.writeU16(ring.driver + 4 + 2 * 8, event);
          const passed = Array.from({ length: batch }, (_, n) => (used + n) & 0xffff).includes(event);
          for (let n = 0; n < batch; n++) queue.push(0, 0);
          used = (used + batch) & 0xffff;
          expect(queue.needsInterrupt()).toBe(passed);
        }
      },
    ),
  );
});
