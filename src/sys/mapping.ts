/**
 * Memory maps with typed-array views. A {@link Mapping} that owns its memory unmaps it; views must not be used after that.
 */
import { check, madvise, memfdCreate, mmap, munmap, viewMemory } from './libc.js';

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_POPULATE = 0x8000;
const MAP_HUGETLB = 0x40000;
const MADV_HUGEPAGE = 14;
const MADV_DONTDUMP = 16;
/** The huge page of x86-64's second level, and the page. */
const HUGE_PAGE = 2 ** 21;
const PAGE = 4096;
const MFD_CLOEXEC = 1;
const MFD_HUGETLB = 4;

/** How anonymous memory is backed: ordinary pages, transparent huge pages on request, or hugetlbfs pages. */
export type HugePages = 'none' | 'transparent' | 'hugetlb';

export class Mapping implements Disposable {
  #address: number;

  private constructor(
    address: number,
    /** Bytes. */
    readonly length: number,
    readonly name: string,
  ) {
    this.#address = address;
  }

  /** Maps `length` bytes of `fd` from `offset`, shared and read-write. @throws SystemError */
  static ofFile(fd: number, length: number, offset: number, name: string, populate = false): Mapping {
    const flags = MAP_SHARED | (populate ? MAP_POPULATE : 0);
    const address = check(mmap(0, length, PROT_READ | PROT_WRITE, flags, fd, offset), 'mmap', name);
    return new Mapping(address, length, name);
  }

  /** Maps zeroed, lazily allocated memory. @throws SystemError (ENOMEM names a lack of memory or huge pages) */
  static anonymous(length: number, name: string, huge: HugePages = 'none'): Mapping {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (huge === 'hugetlb' ? MAP_HUGETLB : 0);
    const hint =
      huge === 'hugetlb' ? 'Reserve huge pages first: echo N > /proc/sys/vm/nr_hugepages.' : undefined;
    // Only aligned memory can be huge pages, on this side and, for guests, in the nested page tables.
    const slack = huge === 'transparent' && length >= HUGE_PAGE ? HUGE_PAGE : 0;
    const start = check(mmap(0, length + slack, PROT_READ | PROT_WRITE, flags, -1, 0), 'mmap', name, hint);
    if (slack === 0) return new Mapping(start, length, name);
    const address = Math.ceil(start / HUGE_PAGE) * HUGE_PAGE;
    const tail = start + slack - address;
    if (address > start) munmap(start, address - start);
    if (tail > 0) munmap(address + Math.ceil(length / PAGE) * PAGE, tail);
    madvise(address, length, MADV_HUGEPAGE);
    return new Mapping(address, length, name);
  }

  /** The host virtual address. @throws Error after disposal */
  get address(): number {
    if (this.#address === 0) throw new Error(`the mapping of ${this.name} is gone`);
    return this.#address;
  }

  /** A live view; at most 1 GiB. @throws RangeError when it is not wholly inside */
  view(offset = 0, length = this.length - offset): ArrayBuffer {
    if (offset < 0 || length < 0 || offset + length > this.length) {
      throw new RangeError(`view ${offset}+${length} is not inside ${this.name} (${this.length} bytes)`);
    }
    return viewMemory(this.address + offset, length);
  }

  /** Keeps the memory out of core dumps. */
  excludeFromDumps(): void {
    madvise(this.address, this.length, MADV_DONTDUMP);
  }

  [Symbol.dispose](): void {
    if (this.#address === 0) return;
    munmap(this.#address, this.length);
    this.#address = 0;
  }
}

/** Creates a memory file. The caller owns the descriptor. @throws SystemError */
export function createMemfd(name: string, huge = false): number {
  return check(memfdCreate(name, MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0)), 'memfd_create', name);
}
