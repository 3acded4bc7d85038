/**
 * virtio-blk's data plane (Virtual I/O Device 1.2, section 5.2.6): takes requests off the queues, checks every length, sector and flag, and
 * answers them in whatever order they complete. Data moves between the image and guest memory without a copy of ours.
 *
 * A request that is readable is always answered, with an error status if need be; only one without room for a header or a status byte
 * fails the device.
 */
import { constants } from 'node:os';
import { EPOLLIN } from '../../sys/epoll.js';
import type { IoUring } from '../../sys/io-uring.js';
import { type Aio, BlkIo } from './blk-io.js';
import {
  ChainReader,
  FLAG_UNMAP,
  HEADER_SIZE,
  ID_SIZE,
  RANGE_SIZE,
  VIRTIO_BLK_F,
  VIRTIO_BLK_S,
  VIRTIO_BLK_T,
} from './blk-request.js';
import { OP, RequestSlots } from './blk-slots.js';
import type { DataPlane, DataPlaneHost } from './data-plane.js';
import { type DiskInfo, SECTOR_SIZE } from './disk-image.js';
import { DescriptorChain, serveQueue, type Virtqueue } from './queue.js';

/** What {@link BlkPlane} needs beside the disk. */
export interface BlkPlaneOptions {
  readonly queues: number;
  /** Requests in flight at most, over all queues. */
  readonly slots: number;
  /** Up to 20 bytes, what GET_ID answers. */
  readonly serial: Uint8Array;
  /** The largest range of one discard or write-zeroes, in sectors. */
  readonly maxRangeSectors: number;
  readonly aio: Aio;
}

/**
 * The driver is interrupted when so many bytes are done, not only at the end of a batch: it then works on them while this thread moves the
 * next ones.
 */
const SIGNAL_BYTES = 64 * 1024;

export class BlkPlane implements DataPlane {
  readonly #host: DataPlaneHost;
  readonly #disk: DiskInfo;
  readonly #options: BlkPlaneOptions;
  readonly #slots: RequestSlots;
  readonly #io: BlkIo;
  readonly #reader: ChainReader;
  readonly #chain = new DescriptorChain();
  /** Queues that stopped because all slots were taken. */
  readonly #starved: Uint8Array;
  /** Queues that something was pushed to since they were last signalled. */
  readonly #pushed: Uint8Array;
  /** Bytes of the requests that were answered since. */
  #unsignalled = 0;
  #current = 0;
  /** The request that is being started does not come alone. */
  #batched = false;
  #ringFd = -1;
  /** Told when nothing is in flight any more: of a reset or a pause. */
  #idle: (() => void)[] = [];
  readonly #serve = (queue: Virtqueue, chain: DescriptorChain) => this.#request(queue, chain);

  constructor(host: DataPlaneHost, disk: DiskInfo, options: BlkPlaneOptions) {
    this.#host = host;
    this.#disk = disk;
    this.#options = options;
    this.#slots = new RequestSlots(options.slots, host.ram);
    this.#reader = new ChainReader(host.ram);
    this.#starved = new Uint8Array(options.queues);
    this.#pushed = new Uint8Array(options.queues);
    this.#io = new BlkIo(
      disk,
      this.#slots,
      options.aio,
      (slot, errno) => this.#finish(slot, errno),
      (ring) => this.#watch(ring),
    );
  }

  #watch(ring: IoUring): void {
    this.#ringFd = ring.fd;
    this.#host.epoll.add(ring.fd, EPOLLIN, () => this.#completions());
  }

  activate(featuresLow: number): void {
    this.#io.writeThrough = (featuresLow & (1 << VIRTIO_BLK_F.FLUSH)) === 0;
  }

  process(index: number): void {
    this.#current = index;
    serveQueue(this.#host, index, this.#chain, this.#serve);
    if (!this.#io.flush()) this.#host.again(index);
    this.#settle();
  }

  #completions(): void {
    this.#io.reap();
    this.#settle();
  }

  /** After completions: interrupts, lets queues go on that waited for a slot, and reports that all is done. */
  #settle(): void {
    this.#signal();
    if (this.#slots.used === this.#slots.slots) return;
    for (let index = 0; index < this.#starved.length; index++) {
      if (this.#starved[index] === 0) continue;
      this.#starved[index] = 0;
      this.#host.again(index);
    }
    if (this.#slots.used > 0 || this.#idle.length === 0) return;
    for (const done of this.#idle.splice(0)) done();
  }

  /** One interrupt for everything that completed since the last one. */
  #signal(): void {
    this.#unsignalled = 0;
    for (let index = 0; index < this.#pushed.length; index++) {
      if (this.#pushed[index] === 0) continue;
      this.#pushed[index] = 0;
      this.#host.signalUsed(index);
    }
  }

  /** Serves one chain; false when all slots are taken. */
  #request(queue: Virtqueue, chain: DescriptorChain): boolean {
    // Asked before a slot is taken: a driver whose index ran away must not keep it.
    this.#batched = queue.hasAvailable() || this.#io.inFlight > 0;
    const slot = this.#slots.take();
    if (slot < 0) {
      this.#starved[this.#current] = 1;
      return false;
    }
    if (chain.writableBytes === 0 || !this.#reader.load(chain, 0)) {
      this.#slots.release(slot);
      this.#host.fail('a request has no room for its header or its status');
      return true;
    }
    const last = chain.count - 1;
    const slots = this.#slots;
    slots.head[slot] = chain.head;
    slots.queue[slot] = this.#current;
    slots.status[slot] = chain.addresses[last] + chain.lengths[last] - 1;
    slots.writable[slot] = chain.writableBytes;
    slots.done[slot] = 0;
    slots.total[slot] = 0;
    const status = this.#begin(slot, chain);
    if (status >= 0) this.#answer(queue, slot, status, slots.done[slot]);
    return true;
  }

  /** Starts the request, or says at once how it ends: a status, or -1 when it is under way. */
  #begin(slot: number, chain: DescriptorChain): number {
    const type = this.#reader.u32(0);
    const sector = this.#reader.u64(8);
    switch (type) {
      case VIRTIO_BLK_T.IN:
        return this.#transfer(slot, chain, OP.READ, sector, chain.writableBytes - 1);
      case VIRTIO_BLK_T.OUT:
        if (this.#disk.readOnly) return VIRTIO_BLK_S.IOERR;
        return this.#transfer(slot, chain, OP.WRITE, sector, chain.readableBytes - HEADER_SIZE);
      case VIRTIO_BLK_T.FLUSH:
        if (this.#disk.readOnly) return VIRTIO_BLK_S.OK;
        return this.#start(slot, OP.FLUSH, 0, 0);
      case VIRTIO_BLK_T.GET_ID:
        return this.#getId(slot, chain);
      case VIRTIO_BLK_T.DISCARD:
      case VIRTIO_BLK_T.WRITE_ZEROES:
        return this.#range(slot, chain, type === VIRTIO_BLK_T.DISCARD);
      default:
        return VIRTIO_BLK_S.UNSUPP;
    }
  }

  #inside(sector: number, sectors: number): boolean {
    return sector + sectors <= this.#disk.sectors;
  }

  #transfer(slot: number, chain: DescriptorChain, op: number, sector: number, length: number): number {
    if (length % SECTOR_SIZE !== 0 || !this.#inside(sector, length / SECTOR_SIZE)) return VIRTIO_BLK_S.IOERR;
    if (length === 0) return VIRTIO_BLK_S.OK;
    if (op === OP.READ) this.#slots.gather(slot, chain, chain.readable, 0, length);
    else this.#slots.gather(slot, chain, 0, HEADER_SIZE, length);
    return this.#start(slot, op, sector * SECTOR_SIZE, length);
  }

  #start(slot: number, op: number, offset: number, length: number): number {
    this.#slots.op[slot] = op;
    this.#slots.offset[slot] = offset;
    this.#slots.total[slot] = length;
    this.#io.start(slot, this.#batched);
    return -1;
  }

  #getId(slot: number, chain: DescriptorChain): number {
    const { ram } = this.#host;
    const { serial } = this.#options;
    const length = Math.min(chain.writableBytes - 1, ID_SIZE);
    let at = 0;
    for (let i = chain.readable; at < length; i++) {
      for (let k = 0; k < chain.lengths[i] && at < length; k++, at++) {
        ram.writeU8(chain.addresses[i] + k, at < serial.length ? serial[at] : 0);
      }
    }
    this.#slots.done[slot] = length;
    return VIRTIO_BLK_S.OK;
  }

  /** DISCARD and WRITE_ZEROES: one range each, as max_discard_seg and max_write_zeroes_seg say. */
  #range(slot: number, chain: DescriptorChain, discard: boolean): number {
    if (this.#disk.readOnly) return VIRTIO_BLK_S.IOERR;
    if (discard && !this.#disk.discard) return VIRTIO_BLK_S.UNSUPP;
    const length = chain.readableBytes - HEADER_SIZE;
    if (length > RANGE_SIZE) return length % RANGE_SIZE === 0 ? VIRTIO_BLK_S.UNSUPP : VIRTIO_BLK_S.IOERR;
    if (!this.#reader.load(chain, HEADER_SIZE)) return VIRTIO_BLK_S.IOERR;
    const sector = this.#reader.u64(0);
    const sectors = this.#reader.u32(8);
    const flags = this.#reader.u32(12);
    // Section 5.2.6.2: unknown flags, and UNMAP of a discard, are not supported.
    if ((flags & ~(discard ? 0 : FLAG_UNMAP)) !== 0) return VIRTIO_BLK_S.UNSUPP;
    if (sectors > this.#options.maxRangeSectors || !this.#inside(sector, sectors)) return VIRTIO_BLK_S.IOERR;
    if (sectors === 0) return VIRTIO_BLK_S.OK;
    const unmap = discard || ((flags & FLAG_UNMAP) !== 0 && this.#disk.discard);
    return this.#start(slot, unmap ? OP.PUNCH : OP.ZERO, sector * SECTOR_SIZE, sectors * SECTOR_SIZE);
  }

  /** A request that was under way is over. Its activation may be over as well: then nobody waits for the answer. */
  #finish(slot: number, errno: number): void {
    const slots = this.#slots;
    const queue = this.#host.queue(slots.queue[slot]);
    if (queue === undefined) {
      slots.release(slot);
      return;
    }
    const status =
      errno === 0
        ? VIRTIO_BLK_S.OK
        : errno === constants.errno.EOPNOTSUPP
          ? VIRTIO_BLK_S.UNSUPP
          : VIRTIO_BLK_S.IOERR;
    this.#answer(queue, slot, status, slots.op[slot] === OP.READ ? slots.done[slot] : 0);
  }

  /** @param written bytes at the start of the writable part that hold data now */
  #answer(queue: Virtqueue, slot: number, status: number, written: number): void {
    const slots = this.#slots;
    this.#host.ram.writeU8(slots.status[slot], status);
    // The used length promises that everything before it was written: the status counts only behind complete data.
    queue.push(slots.head[slot], written === slots.writable[slot] - 1 ? written + 1 : written);
    this.#pushed[slots.queue[slot]] = 1;
    this.#unsignalled += slots.total[slot];
    slots.release(slot);
    if (this.#unsignalled >= SIGNAL_BYTES) this.#signal();
  }

  reset(done: () => void): void {
    this.#starved.fill(0);
    this.#pushed.fill(0);
    this.quiesce(done);
  }

  quiesce(done: () => void): void {
    this.#idle.push(done);
    // What waits in the ring must run as well: its slots come back with its completion.
    while (!this.#io.flush());
    this.#settle();
  }

  [Symbol.dispose](): void {
    if (this.#ringFd >= 0) this.#host.epoll.remove(this.#ringFd);
    this.#io[Symbol.dispose]();
    this.#slots[Symbol.dispose]();
  }
}
