import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { EventfdOwner } from '../context.js';
import { StateArena } from '../state.js';
import { VirtioBlk } from './blk.js';
import type { Aio } from './blk-io.js';
import { VIRTIO_BLK_T } from './blk-request.js';
import { DiskImage, type DiskInfo } from './disk-image.js';
import { type TestBuffer, TestHost } from './plane-test-host.js';

export const MIB = 2 ** 20;
/** Test memory above the rings. */
export const HEADER = 4 * MIB;
export const STATUS = HEADER + 4096;
export const DATA = 8 * MIB;
export const QUEUE_SIZE = 256;

/** Of this test file alone, removed after it. */
export const folder = mkdtempSync(join(tmpdir(), 'tvmm-blk-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;

export function makeImage(content: Uint8Array | number): string {
  const path = join(folder, `image${files++}`);
  writeFileSync(path, typeof content === 'number' ? '' : content);
  if (typeof content === 'number') truncateSync(path, content);
  return path;
}

export interface Options {
  aio?: Aio;
  readOnly?: boolean;
  features?: number;
  queueSize?: number;
  info?: Partial<DiskInfo>;
}

/** A started device over an image. */
export class Bench implements Disposable {
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
export const { IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES } = VIRTIO_BLK_T;
export const OK = 0;
export const IOERR = 1;
export const UNSUPP = 2;
export const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** The plane that the host has already. */
export function reuse(host: TestHost) {
  const plane = host.plane;
  if (plane === undefined) throw new Error('no plane');
  return plane;
}
