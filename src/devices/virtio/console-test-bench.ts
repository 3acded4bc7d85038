/**
 * For the tests of the console device: a started device over descriptors, with its driver's side of the queues.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, mkdtempSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { fcntl, syscall } from '../../sys/libc.js';
import { Mapping } from '../../sys/mapping.js';
import { EventfdOwner } from '../context.js';
import { StateArena } from '../state.js';
import { type ConsolePortConfig, VirtioConsole } from './console.js';
import { receiveQueue, transmitQueue, VIRTIO_CONSOLE } from './console-protocol.js';
import { TestHost } from './plane-test-host.js';

export const MIB = 2 ** 20;
export const OUT = 8 * MIB;
export const CONTROL = 4 * MIB;
export const CONTROL_IN = 4 * MIB + 65536;
export const INPUT = 16 * MIB;

/** Of this test file alone, removed after it. */
export const folder = mkdtempSync(join(tmpdir(), 'tvmm-console-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

export function pair(call: number, a: number, b: number, c: number): [number, number] {
  using memory = Mapping.anonymous(4096, 'pair');
  const args = call === 53 ? [a, b, c, memory.address] : [memory.address, a, 0, 0];
  if (syscall(call, args[0], args[1], args[2], args[3], 0, 0) !== 0)
    throw new Error('no pair of descriptors');
  const [first, second] = new Int32Array(memory.view(0, 8));
  return [first, second];
}
export const pipe = () => pair(293, 0, 0, 0);
export const socketpair = () => pair(53, 1, 1, 0);
export const setNonblocking = (fd: number) => fcntl(fd, 4, constants.O_NONBLOCK);

/** Everything that can be read now. */
export function drain(fd: number): Buffer {
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

export interface Message {
  id: number;
  event: number;
  value: number;
  payload: Buffer;
}

export class Bench implements Disposable {
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

export const port = (name: string, inputFd = -1, outputFd = -1, console = false): ConsolePortConfig => ({
  name,
  inputFd,
  outputFd,
  console,
});
export const closeAll = (...fds: number[]) => {
  for (const fd of fds) closeSync(fd);
};
export const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
