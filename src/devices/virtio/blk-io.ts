/**
 * How a slot's request reaches the image: at once by preadv2/pwritev2 where that cannot wait long, else through io_uring; without
 * io_uring, always at once. Short transfers go on where they stopped.
 *
 * Why not everything through io_uring: the kernel hands buffered writes, and reads on file systems that do not know RWF_NOWAIT, to a worker
 * thread. Measured for 4 KiB at queue depth 1 (ns, native, alone): cached read on ext4 1,000 at once against 2,100 through the ring, on
 * tmpfs 1,500 against 11,700; buffered write on ext4 14,500 against 47,000, on tmpfs 1,500 against 11,000. At depth 32 the ring draws level
 * for cached reads on ext4 (in the lab, where a call out of JavaScript costs more, it seems ahead), and stays at 1.6 to 1.8 times the cost
 * elsewhere. So only short reads that come together take it there; what must wait for a disk always does.
 */
import { constants } from 'node:os';
import { IoUring, IoUringUnavailableError } from '../../sys/io-uring.js';
import { fallocate, fdatasync, lastErrno, preadv2, pwritev2 } from '../../sys/libc.js';
import { Mapping } from '../../sys/mapping.js';
import { PageResidency } from '../../sys/page-residency.js';
import { OP, type RequestSlots } from './blk-slots.js';
import {
  type DiskInfo,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  RWF_NOWAIT,
  SECTOR_SIZE,
} from './disk-image.js';

/**
 * `auto`: at once what does not wait, the rest through io_uring (preadv and pwritev where there is none). `io_uring`: everything
 * through the ring, as far as there is one. `sync`: everything at once, one after the other.
 */
export type Aio = 'auto' | 'io_uring' | 'sync';

/** Called when a request is over: 0 or an errno. */
export type RequestDone = (slot: number, errno: number) => void;

const { EINTR, EAGAIN, EOPNOTSUPP, EIO } = constants.errno;
/** Write through: <linux/fs.h>. */
const RWF_DSYNC = 2;
/** What one preadv takes (IOV_MAX). */
const MAX_IOVECS = 1024;
/** Larger writes go to a worker thread: there the copy itself keeps the I/O thread from its other devices. */
const WRITE_AT_ONCE = 64 * 1024;
/** Reads up to here go through the ring when several come together. */
const BATCHED = 64 * 1024;
const ZEROES = 2 ** 20;
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const ZERO = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

export class BlkIo implements Disposable {
  readonly #fd: number;
  readonly #slots: RequestSlots;
  readonly #done: RequestDone;
  readonly #onRing: (ring: IoUring) => void;
  #aio: Aio;
  #writeFlags = 0;
  #canNowait: boolean;
  /** For `local` media; null before it is first asked. */
  #residency: PageResidency | undefined | null = null;
  /** Made when first needed: a machine that boots from cached blocks never pays for it. */
  #ring: IoUring | undefined;
  #zeroes: Mapping | undefined;
  #iovec: { readonly memory: Mapping; readonly words: BigUint64Array } | undefined;
  readonly #completed = (slot: number, result: number) => this.#complete(slot, result);

  /** @param onRing told of the ring once it exists, to poll its descriptor */
  constructor(
    readonly disk: DiskInfo,
    slots: RequestSlots,
    aio: Aio,
    done: RequestDone,
    onRing: (ring: IoUring) => void,
  ) {
    this.#fd = disk.fd;
    this.#slots = slots;
    this.#aio = aio;
    this.#done = done;
    this.#onRing = onRing;
    this.#canNowait = disk.medium === 'cached';
  }

  /** Whether each write must be on the medium before it completes: for drivers that never flush (section 5.2.6.2). */
  set writeThrough(on: boolean) {
    this.#writeFlags = on ? RWF_DSYNC : 0;
  }

  /** Requests that the kernel works on. */
  get inFlight(): number {
    return this.#ring === undefined ? 0 : this.#ring.inFlight + this.#ring.queued;
  }

  /**
   * Starts the request of a filled slot. It may be over before this returns.
   *
   * @param batched whether other requests come with it: one io_uring_enter(2) is then cheaper than a preadv2(2) for each
   */
  start(slot: number, batched: boolean): void {
    switch (this.#slots.op[slot]) {
      case OP.READ:
        if (!this.#readAtOnce(slot, batched)) this.#enqueue(slot);
        return;
      case OP.WRITE:
        if (this.#writeFitsAtOnce(slot)) this.#transferAtOnce(slot, true, this.#writeFlags);
        else this.#enqueue(slot);
        return;
      default:
        if (this.#atOnce()) this.#otherAtOnce(slot);
        else this.#enqueue(slot);
    }
  }

  #atOnce(): boolean {
    return this.#aio === 'sync' || (this.#aio === 'auto' && this.disk.medium === 'memory');
  }

  /** @returns false when the request, or its rest, must wait */
  #readAtOnce(slot: number, batched: boolean): boolean {
    if (this.#atOnce()) return this.#transferAtOnce(slot, false, 0);
    if (this.#aio !== 'auto') return false;
    // The ring, too, reads cached blocks without waiting there. Long reads go one by one: each is answered while the next is read.
    if (batched && this.#canNowait && this.#slots.total[slot] <= BATCHED) return false;
    if (this.#canNowait) return this.#transferAtOnce(slot, false, RWF_NOWAIT);
    return this.disk.medium === 'local' && this.#resident(slot) && this.#transferAtOnce(slot, false, 0);
  }

  #resident(slot: number): boolean {
    if (this.#residency === null) {
      this.#residency = PageResidency.of(this.#fd, this.disk.sectors * SECTOR_SIZE);
    }
    return this.#residency?.resident(this.#slots.offset[slot], this.#slots.total[slot]) === true;
  }

  #writeFitsAtOnce(slot: number): boolean {
    if (this.#atOnce()) return true;
    return (
      this.#aio === 'auto' &&
      this.#writeFlags === 0 &&
      this.disk.medium !== 'unknown' &&
      this.#slots.total[slot] <= WRITE_AT_ONCE
    );
  }

  /** @returns false when it would have to wait */
  #transferAtOnce(slot: number, write: boolean, flags: number): boolean {
    const slots = this.#slots;
    for (;;) {
      const count = Math.min(slots.count[slot], MAX_IOVECS);
      const call = write ? pwritev2 : preadv2;
      const moved = call(this.#fd, slots.iovec(slot), count, slots.offset[slot], flags);
      if (moved > 0) {
        if (!slots.advance(slot, moved)) continue;
        this.#done(slot, 0);
        return true;
      }
      const errno = moved === 0 ? EIO : lastErrno();
      if (errno === EINTR) continue;
      if (flags === RWF_NOWAIT && (errno === EAGAIN || errno === EOPNOTSUPP)) {
        if (errno === EOPNOTSUPP) this.#canNowait = false;
        return false;
      }
      this.#done(slot, errno);
      return true;
    }
  }

  #otherAtOnce(slot: number): void {
    const slots = this.#slots;
    let errno = 0;
    const again = () => {
      switch (slots.op[slot]) {
        case OP.FLUSH:
          return fdatasync(this.#fd);
        case OP.PUNCH:
          return fallocate(this.#fd, PUNCH, slots.offset[slot], slots.total[slot]);
        case OP.ZERO:
          return fallocate(this.#fd, ZERO, slots.offset[slot], slots.total[slot]);
        default:
          return this.#writeZeroes(slot);
      }
    };
    for (;;) {
      errno = again() < 0 ? lastErrno() : 0;
      if (errno === EINTR) continue;
      if (errno === EOPNOTSUPP && this.#zeroByWriting(slot)) continue;
      if (errno !== 0 || slots.op[slot] !== OP.WRITE_ZEROES || slots.done[slot] >= slots.total[slot]) break;
    }
    this.#done(slot, errno);
  }

  /** Where the file system cannot zero or punch, zeroes are written. A discard may be refused instead: it is only a hint. */
  #zeroByWriting(slot: number): boolean {
    if (this.#slots.op[slot] !== OP.ZERO) return false;
    this.#slots.op[slot] = OP.WRITE_ZEROES;
    return true;
  }

  #zeroBuffer(): number {
    this.#zeroes ??= Mapping.anonymous(ZEROES, 'zeroes');
    return this.#zeroes.address;
  }

  #writeZeroes(slot: number): number {
    if (this.#iovec === undefined) {
      const memory = Mapping.anonymous(4096, 'iovec of zeroes');
      this.#iovec = { memory, words: new BigUint64Array(memory.view()) };
    }
    const slots = this.#slots;
    const length = Math.min(slots.total[slot] - slots.done[slot], ZEROES);
    this.#iovec.words[0] = BigInt(this.#zeroBuffer());
    this.#iovec.words[1] = BigInt(length);
    const address = this.#iovec.memory.address;
    const moved = pwritev2(this.#fd, address, 1, slots.offset[slot], this.#writeFlags);
    if (moved > 0) {
      slots.done[slot] += moved;
      slots.offset[slot] += moved;
    }
    return moved;
  }

  /** Puts the request, or what is left of it, into the ring; without a ring it runs now. */
  #enqueue(slot: number): void {
    const ring = this.#ring ?? this.#openRing();
    const slots = this.#slots;
    if (ring === undefined) {
      if (slots.op[slot] === OP.READ) this.#transferAtOnce(slot, false, 0);
      else if (slots.op[slot] === OP.WRITE) this.#transferAtOnce(slot, true, this.#writeFlags);
      else this.#otherAtOnce(slot);
      return;
    }
    // The ring has an entry for every slot, and a slot has one entry at a time: it is never full.
    const fd = this.#fd;
    const offset = slots.offset[slot];
    const rest = slots.total[slot] - slots.done[slot];
    const op = slots.op[slot];
    const flags = op === OP.READ ? 0 : this.#writeFlags;
    switch (op) {
      case OP.READ:
      case OP.WRITE:
        if (slots.count[slot] === 1) {
          ring.transfer(op === OP.WRITE, fd, slots.base(slot), slots.length(slot), offset, slot, flags);
        } else {
          const count = Math.min(slots.count[slot], MAX_IOVECS);
          ring.vectored(op === OP.WRITE, fd, slots.iovec(slot), count, offset, slot, flags);
        }
        return;
      case OP.FLUSH:
        ring.dataSync(fd, slot);
        return;
      case OP.PUNCH:
        ring.allocate(fd, PUNCH, offset, rest, slot);
        return;
      case OP.ZERO:
        ring.allocate(fd, ZERO, offset, rest, slot);
        return;
      default:
        ring.transfer(true, fd, this.#zeroBuffer(), Math.min(rest, ZEROES), offset, slot, flags);
    }
  }

  #openRing(): IoUring | undefined {
    if (this.#aio === 'sync') return undefined;
    try {
      this.#ring = IoUring.create(this.#slots.slots);
    } catch (error) {
      if (!(error instanceof IoUringUnavailableError)) throw error;
      this.#aio = 'sync';
      return undefined;
    }
    this.#onRing(this.#ring);
    return this.#ring;
  }

  /**
   * Gives the kernel what {@link start} left in the ring, and reaps: one system call, or none.
   *
   * @returns false when the kernel refuses for the moment and nothing is in flight that would wake us: call again soon
   */
  flush(): boolean {
    const ring = this.#ring;
    if (ring === undefined) return true;
    // Reaping may queue the rest of a short transfer.
    while (ring.queued > 0) {
      const taken = ring.submit();
      ring.reap(this.#completed);
      if (!taken) return ring.inFlight > 0 || ring.queued === 0;
    }
    return true;
  }

  /** Completes what is ready. */
  reap(): void {
    this.#ring?.reap(this.#completed);
    this.flush();
    // Completions that overflowed the ring come with a system call of their own.
    this.#ring?.submit();
  }

  #complete(slot: number, result: number): void {
    const slots = this.#slots;
    const op = slots.op[slot];
    if (result < 0) {
      const errno = -result;
      if (errno === EINTR || (errno === EOPNOTSUPP && this.#zeroByWriting(slot))) this.#enqueue(slot);
      else this.#done(slot, errno);
      return;
    }
    switch (op) {
      case OP.READ:
      case OP.WRITE:
        // Nothing moved: the image has become shorter than it was.
        if (result === 0) this.#done(slot, EIO);
        else if (slots.advance(slot, result)) this.#done(slot, 0);
        else this.#enqueue(slot);
        return;
      case OP.WRITE_ZEROES:
        slots.done[slot] += result;
        slots.offset[slot] += result;
        if (result === 0) this.#done(slot, EIO);
        else if (slots.done[slot] >= slots.total[slot]) this.#done(slot, 0);
        else this.#enqueue(slot);
        return;
      default:
        this.#done(slot, 0);
    }
  }

  /** Waits for everything in flight, then closes the ring: the kernel must not touch guest memory that is about to go. */
  [Symbol.dispose](): void {
    const ring = this.#ring;
    if (ring !== undefined) {
      while (ring.inFlight + ring.queued > 0) {
        ring.submit(1);
        ring.reap(this.#completed);
      }
      ring[Symbol.dispose]();
      this.#ring = undefined;
    }
    this.#residency?.[Symbol.dispose]();
    this.#residency = undefined;
    this.#zeroes?.[Symbol.dispose]();
    this.#iovec?.memory[Symbol.dispose]();
  }
}
