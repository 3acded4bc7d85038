import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fcntl, ioctlPointer } from '../../sys/libc.js';
import { VIRTIO_CONSOLE } from './console-protocol.js';
import {
  Bench,
  closeAll,
  drain,
  folder,
  INPUT,
  pipe,
  port,
  setNonblocking,
  sha,
  socketpair,
} from './console-test-bench.js';

describe('output', () => {
  test('bytes reach a file in order, through buffers split at random', () => {
    const path = join(folder, 'out');
    const fd = openSync(path, 'w');
    using bench = new Bench([port('a', -1, fd)]);
    bench.open(0);
    const data = randomBytes(100_000);
    expect(bench.output(0, data, 1777)).toBe(Math.ceil(data.length / 1777));
    expect(sha(readFileSync(path))).toBe(sha(data));
    closeSync(fd);
  });

  test('a full pipe holds back its own port only, and goes on when it is read', () => {
    const [r, w] = pipe();
    const path = join(folder, 'other');
    const fd = openSync(path, 'w');
    using bench = new Bench([port('full', -1, w), port('free', -1, fd)]);
    bench.open(0, 1);
    const data = randomBytes(500_000);
    const first = bench.output(0, data, 10_000);
    expect(first).toBeLessThan(50);
    expect(bench.output(1, Buffer.from('still here'))).toBe(1);
    expect(readFileSync(path, 'utf8')).toBe('still here');
    setNonblocking(r);
    let seen = Buffer.alloc(0);
    bench.host.run(() => {
      seen = Buffer.concat([seen, drain(r)]);
      return seen.length === data.length;
    });
    expect(sha(seen)).toBe(sha(data));
    expect(bench.host.drivers[1].used().length + first).toBe(50);
    closeAll(r, w, fd);
  });

  test('the shared descriptor is left blocking', () => {
    const [r, w] = pipe();
    using bench = new Bench([port('a', -1, w)]);
    bench.open(0);
    bench.output(0, Buffer.from('x'));
    expect(fcntl(w, 3, 0) & constants.O_NONBLOCK).toBe(0);
    closeAll(r, w);
  });

  test.each([
    ['pipe', pipe],
    ['socket', socketpair],
  ])('a %s that nobody reads any more swallows the rest', (_name, make) => {
    const [r, w] = make();
    using bench = new Bench([port('a', -1, w)]);
    bench.open(0);
    closeSync(r);
    expect(bench.output(0, randomBytes(300_000), 10_000)).toBe(30);
    expect(bench.host.failures).toEqual([]);
    closeSync(w);
  });

  test('a reader that leaves while chains are waiting sets them free', () => {
    const [r, w] = pipe();
    using bench = new Bench([port('a', -1, w)]);
    bench.open(0);
    const first = bench.output(0, randomBytes(300_000), 10_000);
    closeSync(r);
    let rest = 0;
    bench.host.run(() => {
      rest += bench.host.drivers[1].used().length;
      return first + rest === 30;
    });
    closeSync(w);
  });

  test('a terminal that is not read holds nobody up', () => {
    const master = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY);
    const number = new Int32Array(1);
    ioctlPointer(master, 0x4004_5431, new Int32Array([0])); // TIOCSPTLCK
    ioctlPointer(master, 0x8004_5430, number); // TIOCGPTN
    const slave = openSync(`/dev/pts/${number[0]}`, constants.O_RDWR | constants.O_NOCTTY);
    using bench = new Bench([port('a', slave, slave, true)]);
    bench.open(0);
    expect(bench.output(0, randomBytes(300_000), 10_000)).toBeLessThan(30);
    closeAll(slave, master);
  });

  test('a port without a host discards', () => {
    using bench = new Bench([port('a')]);
    bench.open(0);
    expect(bench.output(0, randomBytes(100_000), 5000)).toBe(20);
  });

  test('without MULTIPORT port 0 works and the others do not exist', () => {
    const [r, w] = pipe();
    const [r2, w2] = pipe();
    using bench = new Bench([port('a', r2, w), port('b', -1, w)], 0);
    bench.output(0, Buffer.from('zero'));
    expect(bench.output(1, Buffer.from('one'))).toBe(0);
    setNonblocking(r);
    expect(drain(r).toString()).toBe('zero');
    writeSync(w2, 'typed');
    bench.receiveBuffers(0, 2);
    bench.host.settle();
    expect(bench.received(0).toString()).toBe('typed');
    closeAll(r, w, r2, w2);
  });
});

describe('input', () => {
  test('nothing is read before the guest opens the port, nor after it closed it', () => {
    const [r, w] = pipe();
    using bench = new Bench([port('a', r)]);
    bench.receiveBuffers(0, 8);
    writeSync(w, 'early');
    bench.host.settle();
    expect(bench.received(0).length).toBe(0);
    bench.open(0);
    bench.host.settle();
    expect(bench.received(0).toString()).toBe('early');
    bench.control(0, VIRTIO_CONSOLE.PORT_OPEN, 0);
    writeSync(w, 'late');
    bench.host.settle();
    expect(bench.received(0).length).toBe(0);
    bench.control(0, VIRTIO_CONSOLE.PORT_OPEN, 1);
    bench.host.settle();
    expect(bench.received(0).toString()).toBe('late');
    closeAll(r, w);
  });

  test('without receive buffers the bytes stay in the pipe, and nothing spins', () => {
    const [r, w] = pipe();
    using bench = new Bench([port('a', r)]);
    bench.open(0);
    bench.receiveBuffers(0, 1, 10);
    writeSync(w, 'x'.repeat(5000));
    bench.host.settle();
    expect(bench.received(0).length).toBe(10);
    expect(bench.host.epoll.wait(0)).toBe(0);
    bench.receiveBuffers(0, 4);
    bench.host.settle();
    expect(bench.received(0).length).toBe(4990);
    closeAll(r, w);
  });

  test('the end of a pipe closes the port once all bytes are delivered', () => {
    const [r, w] = pipe();
    using bench = new Bench([port('a', r)]);
    bench.open(0);
    writeSync(w, 'last words');
    closeSync(w);
    bench.receiveBuffers(0, 4);
    bench.host.settle();
    expect(bench.received(0).toString()).toBe('last words');
    expect(bench.messages()).toMatchObject([{ id: 0, event: VIRTIO_CONSOLE.PORT_OPEN, value: 0 }]);
    expect(bench.host.epoll.wait(0)).toBe(0);
    // After a reboot the input is still over.
    const state = bench.host.reset();
    expect(state.done).toBe(true);
    if (bench.host.plane !== undefined) bench.host.start(bench.host.plane, 3);
    bench.controlBuffers(8);
    bench.control(0, VIRTIO_CONSOLE.DEVICE_READY, 1);
    bench.control(0, VIRTIO_CONSOLE.PORT_READY, 1);
    expect(bench.messages().map(({ event }) => event)).not.toContain(VIRTIO_CONSOLE.PORT_OPEN);
    closeSync(r);
  });

  test('a regular file and /dev/null can be input: all of it, then the end', () => {
    const path = join(folder, 'in');
    const data = randomBytes(150_000);
    writeFileSync(path, data);
    const file = openSync(path, 'r');
    const nothing = openSync('/dev/null', 'r');
    using bench = new Bench([port('a', file), port('b', nothing)]);
    bench.open(0, 1);
    bench.receiveBuffers(0, 64);
    expect(sha(bench.received(0))).toBe(sha(data));
    bench.receiveBuffers(1, 1);
    const closed = bench.messages().filter(({ event }) => event === VIRTIO_CONSOLE.PORT_OPEN);
    expect(closed).toMatchObject([
      { id: 0, value: 0 },
      { id: 1, value: 0 },
    ]);
    closeAll(file, nothing);
  });

  test('a console stays open for output when its input ends', () => {
    const [r, w] = pipe();
    const nothing = openSync('/dev/null', 'r');
    using bench = new Bench([port('a', nothing, w, true)]);
    bench.open(0);
    bench.receiveBuffers(0, 1);
    expect(bench.messages()).toEqual([]);
    expect(bench.output(0, Buffer.from('still'))).toBe(1);
    closeAll(r, w, nothing);
  });

  test('a socket carries both directions and its end closes the port', () => {
    const [a, b] = socketpair();
    setNonblocking(b);
    using bench = new Bench([port('tvmm.control', a, a)]);
    bench.open(0);
    bench.receiveBuffers(0, 4);
    bench.output(0, Buffer.from('ping'));
    expect(drain(b).toString()).toBe('ping');
    writeSync(b, 'pong');
    bench.host.settle();
    expect(bench.received(0).toString()).toBe('pong');
    closeSync(b);
    bench.host.settle();
    expect(bench.messages()).toMatchObject([{ event: VIRTIO_CONSOLE.PORT_OPEN, value: 0 }]);
    closeSync(a);
  });

  test('a receive buffer that the device may not write fails the device', () => {
    const [r, w] = pipe();
    using bench = new Bench([port('a', r)]);
    bench.open(0);
    bench.host.drivers[0].add([{ gpa: INPUT, length: 4096 }]);
    bench.host.kick(0);
    expect(bench.host.failures).toEqual(['a receive buffer of a is not writable']);
    closeAll(r, w);
  });
});

test('a reset in the middle of everything stops reading and writing, and nothing is left after disposal', () => {
  const count = () => readdirSync('/proc/self/fd').length;
  const before = count();
  const [r, w] = pipe();
  const [r2, w2] = pipe();
  {
    using bench = new Bench([port('a', r2, w)]);
    bench.open(0);
    bench.output(0, randomBytes(300_000), 10_000);
    bench.receiveBuffers(0, 4);
    expect(bench.host.reset().done).toBe(true);
    writeSync(w2, 'x');
    setNonblocking(r);
    drain(r);
    bench.host.settle();
    expect(bench.host.epoll.wait(0)).toBe(0);
    expect(bench.host.failures).toEqual([]);
  }
  closeAll(r, w, r2, w2);
  expect(count()).toBe(before);
});
