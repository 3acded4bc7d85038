/** virtio-blk and virtio-console behind real transports, driven through registers. */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { GuestMemory } from '../../memory/guest-memory.js';
import { VirtioBlk } from './blk.js';
import type { Aio } from './blk-io.js';
import { BLK_CONFIG, VIRTIO_BLK_T } from './blk-request.js';
import { VirtioConsole } from './console.js';
import { VIRTIO_CONSOLE } from './console-protocol.js';
import { DiskImage } from './disk-image.js';
import { TestMachine, TRANSPORTS, type TransportKind } from './driver-model.js';

const MIB = 2 ** 20;
const HEADER = 4 * MIB;
const STATUS = 5 * MIB;
const DATA = 8 * MIB;
const folder = mkdtempSync(join(tmpdir(), 'tvmm-blk-machine-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
let files = 0;

class Disk implements Disposable {
  readonly path = join(folder, `image${files++}`);
  readonly image: DiskImage;
  readonly ram = GuestMemory.create([{ gpa: 0, size: 32 * MIB }]);
  readonly machine: TestMachine<VirtioBlk>;

  constructor(content: Uint8Array, transport: TransportKind, aio: Aio) {
    writeFileSync(this.path, content);
    this.image = DiskImage.open(this.path);
    const { info } = this.image;
    this.machine = new TestMachine({
      transport,
      ram: this.ram,
      device: (context) => new VirtioBlk(context, { id: 'drive0', disk: info, aio }),
    });
  }

  buffers(slot: number, type: number, sector: number, length: number) {
    this.ram.writeU32(HEADER + slot * 16, type);
    this.ram.writeU64(HEADER + slot * 16 + 8, sector);
    this.ram.writeU8(STATUS + slot, 0xee);
    return [
      { gpa: HEADER + slot * 16, length: 16, write: false },
      { gpa: DATA + slot * length, length, write: type === VIRTIO_BLK_T.IN },
      { gpa: STATUS + slot, length: 1, write: true },
    ];
  }

  [Symbol.dispose](): void {
    this.machine[Symbol.dispose]();
    this.image[Symbol.dispose]();
    this.ram[Symbol.dispose]();
  }
}

describe.each(TRANSPORTS)('over %s', (transport) => {
  test.each<Aio>(['auto', 'io_uring'])(
    'batches are written and read back, with interrupts, aio=%s',
    (aio) => {
      using disk = new Disk(new Uint8Array(16 * MIB), transport, aio);
      const { machine } = disk;
      expect(machine.driver.readConfig(BLK_CONFIG.capacity, 4)).toBe(32768);
      const [ring] = machine.initialise();
      const data = randomBytes(8 * MIB);
      for (const type of [VIRTIO_BLK_T.OUT, VIRTIO_BLK_T.IN]) {
        if (type === VIRTIO_BLK_T.OUT) disk.ram.write(DATA, data);
        else disk.ram.bytes(DATA, data.length).fill(0);
        ring.enableInterrupts();
        for (let i = 0; i < 128; i++) {
          ring.add(disk.buffers(i, type, ((i * 77) % 128) * 128, 65536), i % 2 === 0);
        }
        machine.driver.notify(0);
        let used = 0;
        machine.pumpUntil(() => {
          while (ring.takeUsed() !== undefined) used++;
          return used === 128;
        });
        expect(machine.driver.takeInterrupt(0)).toBe(true);
        expect(disk.ram.bytes(STATUS, 128).every((status) => status === 0)).toBe(true);
      }
      expect(sha(disk.ram.bytes(DATA, data.length))).toBe(sha(data));
      expect(machine.failures).toEqual([]);
    },
  );

  test('a reset with requests in flight ends, and the next driver finds a working disk', () => {
    using disk = new Disk(randomBytes(16 * MIB), transport, 'io_uring');
    const { machine } = disk;
    const [ring] = machine.initialise();
    for (let i = 0; i < 16; i++) ring.add(disk.buffers(i, VIRTIO_BLK_T.OUT, i * 2048, MIB));
    machine.driver.notify(0);
    machine.loop.step(0);
    machine.driver.status = 0;
    machine.pumpUntil(() => machine.driver.status === 0);
    const [again] = machine.initialise();
    again.add(disk.buffers(0, VIRTIO_BLK_T.IN, 0, 4096));
    machine.driver.notify(0);
    machine.pumpUntil(() => again.takeUsed() !== undefined);
    expect(disk.ram.readU8(STATUS)).toBe(0);
    expect(sha(disk.ram.bytes(DATA, 4096))).toBe(sha(readFileSync(disk.path).subarray(0, 4096)));
  });
});

test('a pause waits for what is in flight', () => {
  using disk = new Disk(new Uint8Array(16 * MIB), 'pci', 'io_uring');
  const { machine } = disk;
  const [ring] = machine.initialise();
  for (let i = 0; i < 8; i++) ring.add(disk.buffers(i, VIRTIO_BLK_T.OUT, i * 2048, MIB));
  machine.driver.notify(0);
  machine.loop.step(0);
  machine.control.request('paused');
  machine.pumpUntil(() => machine.control.waitFor('paused', 0));
  let used = 0;
  while (ring.takeUsed() !== undefined) used++;
  expect(used).toBe(8);
});

test('a console announces its ports and prints, over pci', () => {
  const path = join(folder, 'console');
  const fd = openSync(path, 'w');
  using ram = GuestMemory.create([{ gpa: 0, size: 4 * MIB }]);
  {
    using machine = new TestMachine({
      transport: 'pci',
      ram,
      device: (context) =>
        new VirtioConsole(context, {
          ports: [{ name: 'tvmm.console', console: true, inputFd: -1, outputFd: fd }],
        }),
    });
    const rings = machine.initialise();
    const gpa = machine.allocator.take(4096);
    for (let i = 0; i < 8; i++) rings[2].add([{ gpa: gpa + i * 64, length: 64, write: true }]);
    const say = (event: number) => {
      ram.writeU16(gpa + 1024 + 4, event);
      ram.writeU16(gpa + 1024 + 6, 1);
      rings[3].add([{ gpa: gpa + 1024, length: 8, write: false }]);
      machine.driver.notify(3);
      machine.pump();
    };
    say(VIRTIO_CONSOLE.DEVICE_READY);
    say(VIRTIO_CONSOLE.PORT_READY);
    const events: number[] = [];
    for (let used = rings[2].takeUsed(); used !== undefined; used = rings[2].takeUsed()) {
      events.push(ram.readU16(ram.readU64(rings[2].descriptors + used.head * 16) + 4));
    }
    expect(events).toEqual([
      VIRTIO_CONSOLE.PORT_ADD,
      VIRTIO_CONSOLE.PORT_NAME,
      VIRTIO_CONSOLE.CONSOLE_PORT,
      VIRTIO_CONSOLE.PORT_OPEN,
    ]);
    ram.write(gpa + 2048, new TextEncoder().encode('hello'));
    rings[1].add([{ gpa: gpa + 2048, length: 5, write: false }]);
    machine.driver.notify(1);
    machine.pump();
    expect(rings[1].takeUsed()?.written).toBe(0);
    expect(machine.failures).toEqual([]);
  }
  closeSync(fd);
  expect(readFileSync(path, 'utf8')).toBe('hello');
});
