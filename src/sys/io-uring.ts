/**
 * io_uring(7) by raw system calls and typed-array views of its rings: asynchronous reads, writes, syncs and allocations.
 *
 * One thread submits and reaps. Nothing is allocated per request: an entry is a few stores, a batch is one io_uring_enter(2), and completions
 * are read straight from the shared ring. The ring's descriptor can be polled: it is readable while completions wait, so that a thread in
 * epoll_wait needs neither an eventfd nor a read(2) to clear it; {@link IoUring.registerEventfd} exists for those who want one.
 * It asks for nothing newer than Linux 5.6, and refuses rings that could drop completions.
 */
import { ERRNO } from './errno.js';
import { SystemError, TvmmError } from './errors.js';
import { FileDescriptor } from './fd.js';
import {
  CQ_OFFSETS,
  CQE,
  IO_URING_OP_SUPPORTED,
  IORING,
  IORING_OP,
  PARAMS,
  PROBE,
  PROBE_OP,
  SQ_OFFSETS,
  SQE,
  SYS_io_uring_enter,
  SYS_io_uring_register,
  SYS_io_uring_setup,
} from './io-uring-abi.js';
import { check, lastErrno, syscall } from './libc.js';
import { Mapping } from './mapping.js';

/** This kernel, its settings or a seccomp filter rule io_uring out; callers fall back to preadv and pwritev. */
export class IoUringUnavailableError extends TvmmError {}

/** Called for each completion: what the submitter gave, and the result (a byte count or a negated errno). */
export type Completion = (userData: number, result: number) => void;

const WORD = 4;
const SQE_WORDS = SQE.size / WORD;
const CQE_WORDS = CQE.size / WORD;
const PROBED_OPS = 32;
/** The operations that the block device submits; a ring without them is refused. */
const NEEDED_OPS = Object.values(IORING_OP);
/** Why io_uring_setup may be refused, by errno. */
const UNAVAILABLE: Record<number, string> = {
  [ERRNO.ENOSYS]: 'this kernel has no io_uring',
  [ERRNO.EPERM]: 'io_uring is disabled (see /proc/sys/kernel/io_uring_disabled) or filtered by seccomp',
  [ERRNO.EACCES]: 'io_uring is filtered by a security policy',
  [ERRNO.ENOMEM]: 'the locked-memory limit leaves no room for an io_uring',
};

export class IoUring implements Disposable {
  readonly #ring: FileDescriptor;
  readonly #rings: Mapping;
  readonly #entriesMap: Mapping;
  /** Both rings share one mapping (FEAT_SINGLE_MMAP); word indexes into it follow. */
  readonly #words: Int32Array;
  readonly #sqes: Int32Array;
  readonly #sqHead: number;
  readonly #sqTail: number;
  readonly #sqFlags: number;
  readonly #sqMask: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqMask: number;
  readonly #cqes: number;
  /** Entries that can wait for {@link submit} at once. */
  readonly entries: number;
  /** Our copy of the SQ tail; it is published by {@link submit}. */
  #tail = 0;
  #unsubmitted = 0;
  #inFlight = 0;

  private constructor(ring: FileDescriptor, params: DataView) {
    const u32 = (offset: number) => params.getUint32(offset, true);
    const sq = (field: keyof typeof SQ_OFFSETS) => u32(PARAMS.sq_off + SQ_OFFSETS[field]);
    const cq = (field: keyof typeof CQ_OFFSETS) => u32(PARAMS.cq_off + CQ_OFFSETS[field]);
    const sqEntries = u32(PARAMS.sq_entries);
    const length = Math.max(sq('array') + sqEntries * WORD, cq('cqes') + u32(PARAMS.cq_entries) * CQE.size);
    this.#ring = ring;
    this.#rings = Mapping.ofFile(ring.fd, length, IORING.OFF_SQ_RING, 'io_uring rings', true);
    try {
      this.#entriesMap = Mapping.ofFile(
        ring.fd,
        sqEntries * SQE.size,
        IORING.OFF_SQES,
        'io_uring SQEs',
        true,
      );
    } catch (error) {
      this.#rings[Symbol.dispose]();
      throw error;
    }
    this.#words = new Int32Array(this.#rings.view());
    this.#sqes = new Int32Array(this.#entriesMap.view());
    this.#sqHead = sq('head') / WORD;
    this.#sqTail = sq('tail') / WORD;
    this.#sqFlags = sq('flags') / WORD;
    this.#sqMask = this.#words[sq('ring_mask') / WORD];
    this.#cqHead = cq('head') / WORD;
    this.#cqTail = cq('tail') / WORD;
    this.#cqMask = this.#words[cq('ring_mask') / WORD];
    this.#cqes = cq('cqes') / WORD;
    this.entries = sqEntries;
    // The indirection array stays the identity: entry i always sits in slot i.
    for (let i = 0; i < sqEntries; i++) this.#words[sq('array') / WORD + i] = i;
  }

  /**
   * Makes a ring.
   *
   * @param entries how many requests may be in flight at once; rounded up to a power of two by the kernel
   * @throws IoUringUnavailableError where a fallback is right, SystemError otherwise (EMFILE)
   */
  static create(entries: number): IoUring {
    // The kernel fills params in: it must be native memory that stays in place.
    using memory = Mapping.anonymous(4096, 'io_uring parameters');
    const params = new DataView(memory.view());
    params.setUint32(PARAMS.flags, IORING.SETUP_CLAMP, true);
    const fd = syscall(SYS_io_uring_setup, entries, memory.address, 0, 0, 0, 0);
    if (fd < 0) throw setupError(lastErrno());
    const ring = new FileDescriptor(fd, 'io_uring');
    try {
      const features = params.getUint32(PARAMS.features, true);
      const wanted = IORING.FEAT_SINGLE_MMAP | IORING.FEAT_NODROP;
      if ((features & wanted) !== wanted) throw unavailable('this kernel is too old for it (before 5.6)');
      requireOperations(ring.fd);
      return new IoUring(ring, params);
    } catch (error) {
      ring[Symbol.dispose]();
      throw error;
    }
  }

  /** For epoll: readable while completions wait to be reaped. */
  get fd(): number {
    return this.#ring.fd;
  }

  /** Requests given to the kernel and not reaped yet. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Requests queued and not submitted yet. */
  get queued(): number {
    return this.#unsubmitted;
  }

  /** Has the kernel signal `eventfd` at every completion. @throws SystemError */
  registerEventfd(eventfd: number): void {
    using memory = Mapping.anonymous(4096, 'io_uring registration');
    new Int32Array(memory.view())[0] = eventfd;
    const result = syscall(
      SYS_io_uring_register,
      this.#ring.fd,
      IORING.REGISTER_EVENTFD,
      memory.address,
      1,
      0,
      0,
    );
    check(result, 'io_uring_register', `eventfd ${eventfd}`);
  }

  /**
   * Queues a vectored transfer. The iovecs and the memory they name must stay in place until it completes.
   *
   * @param iovec address of an array of struct iovec
   * @param count its length, at most 1024
   * @param offset bytes from the start of the file
   * @param userData 0 to 2^31 - 1, handed to the {@link Completion}
   * @param flags RWF_ flags of preadv2(2)
   * @returns false when the submission queue is full: submit first
   */
  vectored(
    write: boolean,
    fd: number,
    iovec: number,
    count: number,
    offset: number,
    userData: number,
    flags = 0,
  ): boolean {
    return this.#queue(write ? IORING_OP.WRITEV : IORING_OP.READV, fd, offset, iovec, count, flags, userData);
  }

  /** Queues a transfer of one buffer of `length` bytes (below 2^31). @see vectored */
  transfer(
    write: boolean,
    fd: number,
    address: number,
    length: number,
    offset: number,
    userData: number,
    flags = 0,
  ): boolean {
    return this.#queue(
      write ? IORING_OP.WRITE : IORING_OP.READ,
      fd,
      offset,
      address,
      length,
      flags,
      userData,
    );
  }

  /** Queues fdatasync(2). It is not ordered after writes that are still in flight: complete those first. @see vectored */
  dataSync(fd: number, userData: number): boolean {
    return this.#queue(IORING_OP.FSYNC, fd, 0, 0, 0, IORING.FSYNC_DATASYNC, userData);
  }

  /** Queues fallocate(2) with its `mode` flags; offset and length in bytes. @see vectored */
  allocate(fd: number, mode: number, offset: number, length: number, userData: number): boolean {
    // The length travels in `addr`, the mode in `len`.
    return this.#queue(IORING_OP.FALLOCATE, fd, offset, length, mode, 0, userData);
  }

  #queue(
    opcode: number,
    fd: number,
    offset: number,
    address: number,
    length: number,
    flags: number,
    userData: number,
  ): boolean {
    const words = this.#words;
    if (((this.#tail - Atomics.load(words, this.#sqHead)) | 0) >= this.entries) return false;
    const sqes = this.#sqes;
    const at = (this.#tail & this.#sqMask) * SQE_WORDS;
    sqes[at] = opcode;
    sqes[at + 1] = fd;
    sqes[at + 2] = offset | 0;
    sqes[at + 3] = (offset / 2 ** 32) | 0;
    sqes[at + 4] = address | 0;
    sqes[at + 5] = (address / 2 ** 32) | 0;
    sqes[at + 6] = length;
    sqes[at + 7] = flags;
    sqes[at + 8] = userData;
    // Words 9 to 15 (high user_data, buffer, personality, file index, addr3) were mapped as zeroes and nothing else writes them.
    this.#tail = (this.#tail + 1) | 0;
    this.#unsubmitted++;
    return true;
  }

  /**
   * Gives everything queued to the kernel in one system call; none when there is nothing to do.
   *
   * @param minComplete waits until so many completions can be reaped
   * @returns false when the kernel would not take all of it now (EAGAIN, EBUSY): reap, then submit again
   * @throws SystemError
   */
  submit(minComplete = 0): boolean {
    if (this.#unsubmitted === 0 && minComplete === 0 && !this.#overflowed()) return true;
    Atomics.store(this.#words, this.#sqTail, this.#tail);
    const flags = minComplete > 0 || this.#overflowed() ? IORING.ENTER_GETEVENTS : 0;
    for (;;) {
      const count = this.#unsubmitted;
      const taken = syscall(SYS_io_uring_enter, this.#ring.fd, count, minComplete, flags, 0, 0);
      if (taken >= 0) {
        this.#unsubmitted -= taken;
        this.#inFlight += taken;
        // The kernel stops early at a request that it fails at once; that one has its completion, so go on behind it.
        if (this.#unsubmitted === 0) return true;
        if (taken === 0) return false;
        continue;
      }
      const errno = lastErrno();
      if (errno === ERRNO.EINTR) continue;
      if (errno === ERRNO.EAGAIN || errno === ERRNO.EBUSY) return false;
      throw new SystemError('io_uring_enter', `${count} requests`, errno);
    }
  }

  /** Completions that did not fit the ring are kept by the kernel (FEAT_NODROP) until somebody enters for events. */
  #overflowed(): boolean {
    return (Atomics.load(this.#words, this.#sqFlags) & IORING.SQ_CQ_OVERFLOW) !== 0;
  }

  /** Hands all waiting completions to `handler`, without a system call. Returns their number. The handler may queue requests. */
  reap(handler: Completion): number {
    const words = this.#words;
    let head = words[this.#cqHead];
    let reaped = 0;
    for (;;) {
      const tail = Atomics.load(words, this.#cqTail);
      if (head === tail) return reaped;
      while (head !== tail) {
        const at = this.#cqes + (head & this.#cqMask) * CQE_WORDS;
        const userData = words[at];
        const result = words[at + 2];
        head = (head + 1) | 0;
        // Given back before the handler runs: should it throw, no completion is seen twice.
        Atomics.store(words, this.#cqHead, head);
        this.#inFlight--;
        reaped++;
        handler(userData, result);
      }
    }
  }

  /**
   * Closes the ring. The kernel cancels or completes what is in flight, at a time of its own: callers whose buffers go away must wait
   * for {@link inFlight} to become 0 first.
   */
  [Symbol.dispose](): void {
    if (this.#ring.closed) return;
    this.#entriesMap[Symbol.dispose]();
    this.#rings[Symbol.dispose]();
    this.#ring[Symbol.dispose]();
  }
}

function unavailable(why: string): IoUringUnavailableError {
  return new IoUringUnavailableError(`io_uring cannot be used: ${why}`, {
    code: 'IO_URING_UNAVAILABLE',
    hint: 'Disks work without it, through preadv and pwritev.',
  });
}

function setupError(errno: number): TvmmError {
  const why = UNAVAILABLE[errno];
  const cause = new SystemError('io_uring_setup', '', errno);
  if (why === undefined) return cause;
  return new IoUringUnavailableError(`io_uring cannot be used: ${why}`, {
    code: 'IO_URING_UNAVAILABLE',
    cause,
  });
}

/** Asks the kernel which operations it knows (IORING_REGISTER_PROBE, 5.6). */
function requireOperations(ring: number): void {
  using memory = Mapping.anonymous(4096, 'io_uring probe');
  const result = syscall(
    SYS_io_uring_register,
    ring,
    IORING.REGISTER_PROBE,
    memory.address,
    PROBED_OPS,
    0,
    0,
  );
  if (result < 0) throw unavailable('this kernel does not say which operations it has (before 5.6)');
  const probe = new DataView(memory.view());
  for (const op of NEEDED_OPS) {
    const known = op <= probe.getUint8(PROBE.last_op);
    const flags = probe.getUint16(PROBE.ops + op * PROBE_OP.size + PROBE_OP.flags, true);
    if (!known || (flags & IO_URING_OP_SUPPORTED) === 0) throw unavailable(`operation ${op} is missing`);
  }
}
