import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EPOLLIN, Epoll } from './epoll.js';
import { createEventfd, drainEventfd } from './eventfd.js';
import { IoUring, IoUringUnavailableError } from './io-uring.js';
import * as abi from './io-uring-abi.js';
import { Mapping } from './mapping.js';

const folder = mkdtempSync(join(tmpdir(), 'tvmm-uring-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the ABI tables', () => {
  const facts = new Map<string, number>();
  const structs = {
    io_uring_sqe: abi.SQE,
    io_uring_cqe: abi.CQE,
    io_uring_params: abi.PARAMS,
    io_sqring_offsets: abi.SQ_OFFSETS,
    io_cqring_offsets: abi.CQ_OFFSETS,
    io_uring_probe: abi.PROBE,
    io_uring_probe_op: abi.PROBE_OP,
  };

  beforeAll(() => {
    const lines: string[] = [];
    const show = (label: string, expression: string) =>
      lines.push(`printf("${label} %llu\\n", (unsigned long long)(${expression}));`);
    for (const name of Object.keys(abi.IORING_OP)) show(`op.${name}`, `IORING_OP_${name}`);
    for (const name of Object.keys(abi.IORING)) show(`const.${name}`, `IORING_${name}`);
    show('supported', 'IO_URING_OP_SUPPORTED');
    for (const call of ['setup', 'enter', 'register']) show(`sys.${call}`, `__NR_io_uring_${call}`);
    for (const [name, fields] of Object.entries(structs)) {
      for (const field of Object.keys(fields)) {
        const expression = field === 'size' ? `sizeof(struct ${name})` : `offsetof(struct ${name}, ${field})`;
        show(`${name}.${field}`, expression);
      }
    }
    const source = join(folder, 'facts.c');
    const includes = ['stdio.h', 'stddef.h', 'sys/syscall.h', 'linux/io_uring.h'];
    const head = includes.map((name) => `#include <${name}>\n`).join('');
    writeFileSync(source, `${head}int main(void){${lines.join('\n')}return 0;}\n`);
    execFileSync('gcc', ['-o', join(folder, 'facts'), source]);
    for (const line of execFileSync(join(folder, 'facts'), { encoding: 'utf8' }).trim().split('\n')) {
      const [label, value] = line.split(' ');
      facts.set(label, Number(value));
    }
  });

  test('every constant and operation is what the kernel headers say', () => {
    for (const [name, value] of Object.entries(abi.IORING_OP))
      expect(value, name).toBe(facts.get(`op.${name}`));
    for (const [name, value] of Object.entries(abi.IORING))
      expect(value, name).toBe(facts.get(`const.${name}`));
    expect(abi.IO_URING_OP_SUPPORTED).toBe(facts.get('supported'));
    expect([abi.SYS_io_uring_setup, abi.SYS_io_uring_enter, abi.SYS_io_uring_register]).toEqual([
      facts.get('sys.setup'),
      facts.get('sys.enter'),
      facts.get('sys.register'),
    ]);
  });

  test.each(Object.entries(structs))(
    'struct %s has the size and offsets that gcc gives it',
    (name, fields) => {
      for (const [field, value] of Object.entries(fields)) {
        expect(value, field).toBe(facts.get(`${name}.${field}`));
      }
    },
  );
});

/** A ring, or undefined where this machine has none. */
function tryRing(entries: number): IoUring | undefined {
  try {
    return IoUring.create(entries);
  } catch (error) {
    if (error instanceof IoUringUnavailableError) return undefined;
    throw error;
  }
}
const probe = tryRing(2);
probe?.[Symbol.dispose]();

describe.skipIf(probe === undefined)('a ring (skipped where the kernel has no io_uring)', () => {
  /** Runs until everything in flight has completed; results by user data. */
  function complete(ring: IoUring): Map<number, number> {
    const results = new Map<number, number>();
    for (;;) {
      ring.submit(ring.inFlight + ring.queued > 0 ? 1 : 0);
      ring.reap((userData, result) => results.set(userData, result));
      if (ring.inFlight === 0 && ring.queued === 0) return results;
    }
  }

  function file(name: string, content: Uint8Array | string): { fd: number; path: string } & Disposable {
    const path = join(folder, name);
    writeFileSync(path, content);
    const fd = openSync(path, 'r+');
    return { fd, path, [Symbol.dispose]: () => closeSync(fd) };
  }

  test('a batch of writes, one sync and a batch of reads carry 1 MiB there and back', () => {
    using ring = IoUring.create(16);
    using buffer = Mapping.anonymous(2 * 2 ** 20, 'test');
    using target = file('batch', '');
    const data = randomBytes(2 ** 20);
    new Uint8Array(buffer.view()).set(data);
    for (let i = 0; i < 16; i++) {
      expect(ring.transfer(true, target.fd, buffer.address + i * 65536, 65536, i * 65536, i)).toBe(true);
    }
    expect([...complete(ring).values()]).toEqual(Array(16).fill(65536));
    ring.dataSync(target.fd, 99);
    expect(complete(ring)).toEqual(new Map([[99, 0]]));
    expect(readFileSync(target.path).equals(data)).toBe(true);

    const half = 2 ** 20;
    for (let i = 0; i < 16; i++) {
      ring.transfer(false, target.fd, buffer.address + half + i * 65536, 65536, i * 65536, i);
    }
    complete(ring);
    const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
    expect(hash(new Uint8Array(buffer.view(half)))).toBe(hash(data));
  });

  test('vectored transfers scatter and gather in the order of their iovecs', () => {
    using ring = IoUring.create(4);
    using buffer = Mapping.anonymous(8192, 'test');
    using target = file('vectored', 'abcdefgh');
    const iovecs = new BigUint64Array(buffer.view(0, 32));
    iovecs.set([BigInt(buffer.address + 4100), 3n, BigInt(buffer.address + 4096), 4n]);
    ring.vectored(false, target.fd, buffer.address, 2, 1, 7);
    expect(complete(ring)).toEqual(new Map([[7, 7]]));
    expect(Buffer.from(buffer.view(4096, 7)).toString()).toBe('efghbcd');
  });

  test('offsets beyond 4 GiB and allocation modes arrive whole', () => {
    using ring = IoUring.create(4);
    using buffer = Mapping.anonymous(4096, 'test');
    using target = file('sparse', '');
    const offset = 5 * 2 ** 32 + 4096;
    ring.transfer(true, target.fd, buffer.address, 4096, offset, 1);
    expect(complete(ring).get(1)).toBe(4096);
    expect(statSync(target.path).size).toBe(offset + 4096);
    ring.allocate(target.fd, 0, 2 ** 33, 8192, 2);
    expect(complete(ring).get(2)).toBe(0);
    expect(statSync(target.path).blocks).toBe((4096 + 8192) / 512);
  });

  test('a request that cannot be done completes with its errno and does not hold up those behind it', () => {
    using ring = IoUring.create(4);
    using buffer = Mapping.anonymous(4096, 'test');
    using target = file('errors', 'x'.repeat(4096));
    ring.transfer(false, 9999, buffer.address, 512, 0, 1);
    ring.transfer(false, target.fd, buffer.address, 512, 0, 2);
    ring.transfer(false, target.fd, buffer.address, 512, 8192, 3);
    const results = complete(ring);
    expect(results.get(1)).toBe(-constants.errno.EBADF);
    expect(results.get(2)).toBe(512);
    expect(results.get(3)).toBe(0);
  });

  test('a full submission queue refuses, and takes more after a submit; indexes wrap', () => {
    using ring = IoUring.create(2);
    using buffer = Mapping.anonymous(4096, 'test');
    using target = file('full', 'y'.repeat(4096));
    let seen = 0;
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < ring.entries; i++) {
        expect(ring.transfer(false, target.fd, buffer.address, 16, 0, i)).toBe(true);
      }
      expect(ring.transfer(false, target.fd, buffer.address, 16, 0, 9)).toBe(false);
      seen += complete(ring).size;
    }
    expect(seen).toBe(50 * ring.entries);
  });

  test('the ring itself can be polled, and is quiet again once reaped', () => {
    using ring = IoUring.create(2);
    using buffer = Mapping.anonymous(4096, 'test');
    using target = file('poll', 'z'.repeat(4096));
    using epoll = new Epoll();
    let woken = 0;
    epoll.add(ring.fd, EPOLLIN, () => {
      woken++;
      ring.reap(() => {});
    });
    ring.transfer(true, target.fd, buffer.address, 4096, 0, 1);
    ring.submit();
    while (ring.inFlight > 0) epoll.wait(5000);
    expect(woken).toBeGreaterThan(0);
    expect(epoll.wait(0)).toBe(0);
  });

  test('a registered eventfd is signalled at completion', () => {
    using ring = IoUring.create(2);
    using buffer = Mapping.anonymous(4096, 'test');
    using target = file('eventfd', 'z'.repeat(4096));
    using signal = createEventfd('test');
    ring.registerEventfd(signal.fd);
    ring.transfer(false, target.fd, buffer.address, 4096, 0, 1);
    expect(drainEventfd(signal.fd)).toBe(false);
    ring.submit(1);
    expect(drainEventfd(signal.fd)).toBe(true);
    ring.reap(() => {});
  });

  test('disposing gives the descriptor and both mappings back, also twice', () => {
    const maps = () => readFileSync('/proc/self/maps', 'utf8').split('io_uring').length;
    const before = maps();
    const ring = IoUring.create(8);
    expect(maps()).toBeGreaterThan(before);
    ring[Symbol.dispose]();
    ring[Symbol.dispose]();
    expect(maps()).toBe(before);
    expect(() => ring.fd).toThrow('closed');
  });
});
