/**
 * Asks mincore(2) whether a range of a file is in the page cache, so that reading it will not wait for the disk. For file systems that do not
 * know RWF_NOWAIT. An answer is a hint: pages may leave the cache at any time.
 */
import { mmap, munmap, syscall } from './libc.js';
import { MAP_SHARED, Mapping, PROT_READ } from './mapping.js';

const SYS_mincore = 27;
const MAP_NORESERVE = 0x4000;
const PAGE = 4096;
/** The longest range that is asked about: one page of answers. */
const MAX_PAGES = 4096;

export class PageResidency implements Disposable {
  readonly #length: number;
  readonly #vector = Mapping.anonymous(MAX_PAGES, 'page residency');
  readonly #answers = new Uint8Array(this.#vector.view());
  #address: number;

  private constructor(address: number, length: number) {
    this.#address = address;
    this.#length = length;
  }

  /** Watches `length` bytes of `fd`, which may be closed afterwards. Undefined where the file cannot be mapped. */
  static of(fd: number, length: number): PageResidency | undefined {
    const address = mmap(0, length, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    return address === -1 ? undefined : new PageResidency(address, length);
  }

  /** Whether all of the range is in memory. Ranges outside of the file, and longer ones than 16 MiB, are not. */
  resident(offset: number, length: number): boolean {
    const first = Math.floor(offset / PAGE);
    const pages = Math.ceil((offset + length) / PAGE) - first;
    if (!(offset >= 0 && length > 0) || offset + length > this.#length || pages > MAX_PAGES) return false;
    const start = this.#address + first * PAGE;
    if (syscall(SYS_mincore, start, pages * PAGE, this.#vector.address, 0, 0, 0) !== 0) return false;
    for (let i = 0; i < pages; i++) {
      if ((this.#answers[i] & 1) === 0) return false;
    }
    return true;
  }

  [Symbol.dispose](): void {
    if (this.#address === 0) return;
    munmap(this.#address, this.#length);
    this.#address = 0;
    this.#vector[Symbol.dispose]();
  }
}
