import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { fcntl, ioctlPointer, syscall } from '../../sys/libc.js';
import { Mapping } from '../../sys/mapping.js';
import { EventfdOwner } from '../context.js';
import { StateArena } from '../state.js';
import { type ConsolePortConfig, VirtioConsole } from './console.js';
import {
  CONSOLE_CONFIG,
  portOfQueue,
  receiveQueue,
  transmitQueue,
  VIRTIO_CONSOLE,
} from './console-protocol.js';
import { TestHost } from './plane-test-host.js';

const MIB = 2 ** 20;
const OUT = 8 * MIB;
const CONTROL = 4 * MIB;
const CONTROL_IN = 4 * MIB + 65536;
const INPUT = 16 * MIB;

const folder = mkdtempSync(join(tmpdir(), 'tvmm-console-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function pair(call: number, a: number, b: number, c: number): [number, number] {
  using memory = Mapping.anonymous(4096, 'pair');
  const args = call === 53 ? [a, b, c, memory.address] : [memory.address, a, 0, 0];
  if (syscall(call, args[0], args[1], args[2], args[3], 0, 0) !== 0)
    throw new Error('no pair of descriptors');
  const [first, second] = new Int32Array(memory.view(0, 8));
  return [first, second];
}
const pipe = () => pair(293, 0, 0, 0);
const socketpair = () => pair(53, 1, 1, 0);
const setNonblocking = (fd: number) => fcntl(fd, 4, constants.O_NONBLOCK);

/** Everything that can be read now. */
function drain(fd: number): Buffer {
  const parts: Buffer[] = [];
  const buffer = Buffer.alloc(65536);
  for (;;) {
    try {
      const got = readSync(fd, buffer, 0, buffer.length, null);
      if (got === 0) break;
      parts.push(Buffer.from(buffer.subarray(0, got)));
    } catch {
      break;
    }
  }
  return Buffer.concat(parts);
}

interface Message {
  id: number;
  event: number;
  value: number;
  payload: Buffer;
}

class Bench implements Disposable {
  readonly host: TestHost;
  readonly device: VirtioConsole;
  readonly #eventfds = new EventfdOwner();

  constructor(ports: ConsolePortConfig[], features = 3) {
    const queues = 2 * ports.length + 2;
    this.host = new TestHost(Array(queues).fill(64));
    const context = { arena: new StateArena(), eventfds: this.#eventfds, isOwner: true };
    this.device = new VirtioConsole(context, { ports });
    this.host.start(this.device.createDataPlane(this.host), features);
    this.controlBuffers(32);
  }

  controlBuffers(count: number, length = 128): void {
    for (let i = 0; i < count; i++) {
      this.host.drivers[2].add([{ gpa: CONTROL_IN + i * 128, length, write: true }]);
    }
    this.host.kick(2);
  }

  /** A message of the driver. */
  control(id: number, event: number, value: number): void {
    this.host.ram.writeU32(CONTROL, id);
    this.host.ram.writeU16(CONTROL + 4, event);
    this.host.ram.writeU16(CONTROL + 6, value);
    this.host.drivers[3].add([{ gpa: CONTROL, length: 8 }]);
    this.host.kick(3);
    this.host.drivers[3].used();
  }

  /** Messages of the device since the last call. */
  messages(): Message[] {
    const { ram } = this.host;
    return this.host.drivers[2].used().map(({ head, length }) => {
      const at = ram.readU64(this.host.drivers[2].descriptors + head * 16);
      return {
        id: ram.readU32(at),
        event: ram.readU16(at + 4),
        value: ram.readU16(at + 6),
        payload: Buffer.from(ram.bytes(at + 8, length - 8)),
      };
    });
  }

  /** Sets the device up as Linux does and opens the ports. */
  open(...ports: number[]): void {
    this.control(0, VIRTIO_CONSOLE.DEVICE_READY, 1);
    for (const port of ports) {
      this.control(port, VIRTIO_CONSOLE.PORT_READY, 1);
      this.control(port, VIRTIO_CONSOLE.PORT_OPEN, 1);
    }
    this.messages();
  }

  /** The guest writes `data` as chains of `size` bytes; the number that came back at once. */
  output(port: number, data: Uint8Array, size = data.length): number {
    const queue = transmitQueue(port);
    const at = OUT + port * MIB;
    this.host.ram.write(at, data);
    for (let offset = 0; offset < data.length; offset += size) {
      this.host.drivers[queue].add([{ gpa: at + offset, length: Math.min(size, data.length - offset) }]);
    }
    this.host.kick(queue);
    return this.host.drivers[queue].used().length;
  }

  receiveBuffers(port: number, count: number, length = 4096): void {
    for (let i = 0; i < count; i++) {
      this.host.drivers[receiveQueue(port)].add([{ gpa: INPUT + i * 4096, length, write: true }]);
    }
    this.host.kick(receiveQueue(port));
  }

  received(port: number): Buffer {
    const driver = this.host.drivers[receiveQueue(port)];
    return Buffer.concat(
      driver.used().map(({ head, length }) => {
        const at = this.host.ram.readU64(driver.descriptors + head * 16);
        return Uint8Array.from(this.host.ram.bytes(at, length));
      }),
    );
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
    this.#eventfds[Symbol.dispose]();
  }
}

const port = (name: string, inputFd = -1, outputFd = -1, console = false): ConsolePortConfig => ({
  name,
  inputFd,
  outputFd,
  console,
});
const closeAll = (...fds: number[]) => {
  for (const fd of fds) closeSync(fd);
};
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('the control protocol', () => {
  test('queues belong to ports as section 5.3.2 says', () => {
    expect([0, 1, 2].map(receiveQueue)).toEqual([0, 4, 6]);
    expect([0, 1, 2].map(transmitQueue)).toEqual([1, 5, 7]);
    expect([0, 1, 2, 3, 4, 5, 6, 7].map(portOfQueue)).toEqual([0, 0, undefined, undefined, 1, 1, 2, 2]);
  });

  test('ports are announced, named, made a console and opened in that order', () => {
    const [r, w] = pipe();
    using bench = new Bench([port('tvmm.console', -1, w, true), port('tvmm.stdout', -1, w), port('idle')]);
    bench.device.resize(120, 40);
    bench.host.settle();
    bench.control(0, VIRTIO_CONSOLE.DEVICE_READY, 1);
    expect(bench.messages().map(({ id, event }) => [id, event])).toEqual([
      [0, VIRTIO_CONSOLE.PORT_ADD],
      [1, VIRTIO_CONSOLE.PORT_ADD],
      [2, VIRTIO_CONSOLE.PORT_ADD],
    ]);
    for (const id of [0, 1, 2]) bench.control(id, VIRTIO_CONSOLE.PORT_READY, 1);
    const seen = bench
      .messages()
      .map(({ id, event, value, payload }) => [id, event, value, payload.toString('latin1')]);
    expect(seen).toEqual([
      [0, VIRTIO_CONSOLE.PORT_NAME, 1, 'tvmm.console'],
      [0, VIRTIO_CONSOLE.CONSOLE_PORT, 1, ''],
      [0, VIRTIO_CONSOLE.RESIZE, 1, '\x28\0\x78\0'],
      [0, VIRTIO_CONSOLE.PORT_OPEN, 1, ''],
      [1, VIRTIO_CONSOLE.PORT_NAME, 1, 'tvmm.stdout'],
      [1, VIRTIO_CONSOLE.PORT_OPEN, 1, ''],
      [2, VIRTIO_CONSOLE.PORT_NAME, 1, 'idle'],
    ]);
    bench.device.resize(80, 25);
    bench.host.settle();
    expect(bench.messages().map(({ payload }) => payload.toString('latin1'))).toEqual(['\x19\0\x50\0']);
    expect(bench.device.readConfig(CONSOLE_CONFIG.cols, 2)).toBe(80);
    expect(bench.device.readConfig(CONSOLE_CONFIG.max_nr_ports, 4)).toBe(3);
    expect(bench.device.readConfig(10, 4)).toBe(0);
    closeAll(r, w);
  });

  test('messages wait for control buffers, and a driver that never gives any is stopped', () => {
    using bench = new Bench([port('a'), port('b')]);
    bench.open();
    for (let i = 0; i < 15; i++) bench.control(0, VIRTIO_CONSOLE.DEVICE_READY, 1);
    const first = bench.messages().length;
    bench.controlBuffers(20);
    expect(first + bench.messages().length).toBe(30);
    for (let i = 0; i < 600 && bench.host.failures.length === 0; i++) {
      bench.control(0, VIRTIO_CONSOLE.DEVICE_READY, 1);
    }
    expect(bench.host.failures).toEqual(['the driver never takes its control messages']);
  });

  test('random control messages are ignored or answered, never fatal', () => {
    const short = fc.record({
      id: fc.nat(5),
      event: fc.nat(9),
      value: fc.nat(3),
      length: fc.integer({ min: 1, max: 8 }),
    });
    fc.assert(
      fc.property(fc.array(short, { maxLength: 10 }), (messages) => {
        using bench = new Bench([port('a'), port('b', -1, -1, true)]);
        for (const { id, event, value, length } of messages) {
          bench.host.ram.writeU32(CONTROL, id === 5 ? 0xffff_ffff : id);
          bench.host.ram.writeU16(CONTROL + 4, event);
          bench.host.ram.writeU16(CONTROL + 6, value);
          // Split wherever it likes.
          const cut = Math.max(1, length >> 1);
          bench.host.drivers[3].add(
            length > cut
              ? [
                  { gpa: CONTROL, length: cut },
                  { gpa: CONTROL + cut, length: length - cut },
                ]
              : [{ gpa: CONTROL, length }],
          );
          bench.host.kick(3);
          expect(bench.host.drivers[3].used().length).toBe(1);
        }
        expect(bench.host.failures).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });

  test('a control buffer that is too small, or not writable, fails the device', () => {
    using bench = new Bench([port('a')]);
    bench.open();
    const own = bench.host.drivers[2];
    for (let i = 0; i < 40; i++) bench.control(0, VIRTIO_CONSOLE.DEVICE_READY, 1);
    own.used();
    own.add([{ gpa: CONTROL_IN, length: 7, write: true }]);
    bench.host.kick(2);
    expect(bench.host.failures.length).toBe(1);
  });
});

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

test('a descriptor that is not open is refused when the plane is made, and leaves nothing', () => {
  using eventfds = new EventfdOwner();
  using host = new TestHost([64, 64, 64, 64]);
  const [r, w] = pipe();
  const count = readdirSync('/proc/self/fd').length;
  const device = new VirtioConsole(
    { arena: new StateArena(), eventfds, isOwner: true },
    { ports: [port('a', r, 9999)] },
  );
  expect(() => device.createDataPlane(host)).toThrow(/output of a: EBADF/);
  // The device's own eventfds: four queues, the control and the resize.
  expect(readdirSync('/proc/self/fd').length).toBe(count + 6);
  closeAll(r, w);
});
