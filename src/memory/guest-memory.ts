/**
 * Guest RAM: mapped regions, their KVM slots, and bounds-checked access through DataViews that are made once.
 *
 * One ArrayBuffer cannot hold every guest, and V8 counts the bytes behind each as its own: large ones make it collect garbage at
 * once. So memory is seen through chunks of 4 MiB, each made when it is first touched and found by its number. Bulk data goes by
 * {@link GuestMemory.hostAddress} instead. Other threads attach to the same mappings by address ({@link GuestMemory.attach}).
 */
import { KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY } from '../kvm/ioctl.js';
import type { Vm } from '../kvm/vm.js';
import { TvmmError } from '../sys/errors.js';
import { FileDescriptor } from '../sys/fd.js';
import { check, ftruncate, viewMemory } from '../sys/libc.js';
import { createMemfd, type HugePages, Mapping } from '../sys/mapping.js';
import { PAGE_SIZE } from './layout.js';
import { type Gpa, GuestMemoryError, type GuestRam, type RamRange } from './types.js';

const CHUNK_SHIFT = 22;
const CHUNK = 2 ** CHUNK_SHIFT;
const OFFSET_MASK = CHUNK - 1;

/** A region to create. */
export interface RegionSpec {
  gpa: Gpa;
  /** Bytes, a multiple of 4096. */
  size: number;
  /** The guest may not write; writes exit as MMIO. */
  readOnly?: boolean;
}

/** How guest memory is backed. */
export interface BackingOptions {
  /** `memfd` memory can be shared with other processes (vhost-user); anonymous memory is a little cheaper. */
  backing?: 'anonymous' | 'memfd';
  hugePages?: HugePages;
}

/** A region with its place in this process; plain data, so that it can be sent to other threads. */
export interface MappedRegion extends RamRange {
  readonly slot: number;
  readonly hostAddress: number;
}

interface Chunk {
  readonly gpa: Gpa;
  readonly size: number;
  readonly view: DataView;
  readonly bytes: Uint8Array;
}

/** Holds nothing: every access goes on to the slower search. */
const NO_CHUNK: Chunk = {
  gpa: 0,
  size: -1,
  view: new DataView(new ArrayBuffer(0)),
  bytes: new Uint8Array(0),
};

const fenceWord = new Int32Array(new SharedArrayBuffer(4));

/** A full memory barrier: stores before it are visible to the guest before loads after it are made. */
export function fullFence(): void {
  Atomics.add(fenceWord, 0, 1);
}

export class GuestMemory implements GuestRam, Disposable {
  readonly ranges: readonly MappedRegion[];
  readonly #mappings: Mapping[];
  readonly #files: FileDescriptor[];
  readonly isMapped = true;
  /** By GPA / CHUNK; the chunk that holds most of it where regions meet inside one. */
  readonly #chunks: (Chunk | undefined)[];
  /**
   * The same for the chunks below 4 GiB that begin where their number says, {@link NO_CHUNK} elsewhere: integer arithmetic and an array
   * without holes, which V8 turns into a handful of instructions.
   */
  readonly #low: Chunk[];

  private constructor(ranges: readonly MappedRegion[], mappings: Mapping[], files: FileDescriptor[]) {
    this.ranges = ranges;
    this.#mappings = mappings;
    this.#files = files;
    const end = ranges.reduce((most, range) => Math.max(most, range.gpa + range.size), 0);
    const count = Math.ceil(end / CHUNK);
    this.#chunks = new Array<Chunk | undefined>(count).fill(undefined);
    this.#low = Array.from({ length: Math.min(count, 2 ** 32 / CHUNK) }, () => NO_CHUNK);
  }

  /**
   * Maps the regions. Pages are allocated when first touched.
   *
   * @throws SystemError (mmap: ENOMEM), TvmmError for overlapping or unaligned regions
   */
  static create(specs: readonly RegionSpec[], options: BackingOptions = {}): GuestMemory {
    const sorted = [...specs].sort((a, b) => a.gpa - b.gpa);
    checkRegions(sorted);
    const mappings: Mapping[] = [];
    const files: FileDescriptor[] = [];
    try {
      const ranges = sorted.map((spec, slot) => {
        const name = `guest memory at 0x${spec.gpa.toString(16)}`;
        const mapping = options.backing === 'memfd' ? mapMemfd(spec.size, name, options, files) : undefined;
        const owned = mapping ?? Mapping.anonymous(spec.size, name, options.hugePages);
        mappings.push(owned);
        return {
          gpa: spec.gpa,
          size: spec.size,
          readOnly: spec.readOnly === true,
          slot,
          hostAddress: owned.address,
        };
      });
      return new GuestMemory(ranges, mappings, files);
    } catch (error) {
      for (const resource of [...mappings, ...files]) resource[Symbol.dispose]();
      throw error;
    }
  }

  /** Access from another thread of the process; the creator keeps the mappings alive. */
  static attach(ranges: readonly MappedRegion[]): GuestMemory {
    return new GuestMemory(ranges, [], []);
  }

  /** Makes the chunk around `gpa`, which the table does not hold. */
  #makeChunk(gpa: Gpa): Chunk | undefined {
    const range = this.#region(gpa, 1);
    if (range === undefined) return undefined;
    const index = Math.floor(gpa / CHUNK);
    const start = Math.max(index * CHUNK, range.gpa);
    const size = Math.min((index + 1) * CHUNK, range.gpa + range.size) - start;
    const buffer = viewMemory(range.hostAddress + (start - range.gpa), size);
    const chunk = { gpa: start, size, view: new DataView(buffer), bytes: new Uint8Array(buffer) };
    this.#chunks[index] = chunk;
    if (start === index * CHUNK && index < this.#low.length) this.#low[index] = chunk;
    return chunk;
  }

  /** Gives every region to the VM as a memory slot. @param logDirty whether writes are tracked from the start */
  registerWith(vm: Vm, logDirty = false): void {
    for (const range of this.ranges) this.#setSlot(vm, range, logDirty);
  }

  /** Switches dirty logging of all slots on or off. */
  setDirtyLogging(vm: Vm, enabled: boolean): void {
    for (const range of this.ranges) this.#setSlot(vm, range, enabled);
  }

  #setSlot(vm: Vm, range: MappedRegion, logDirty: boolean): void {
    vm.setMemorySlot({
      slot: range.slot,
      guestPhysAddr: range.gpa,
      memorySize: range.size,
      userspaceAddr: range.hostAddress,
      flags: (logDirty ? KVM_MEM_LOG_DIRTY_PAGES : 0) | (range.readOnly ? KVM_MEM_READONLY : 0),
    });
  }

  /**
   * The pages that the guest wrote since the last call, ascending; clears the log. Writes by the VMM itself are not in it.
   *
   * @throws SystemError when logging is off (ENOENT)
   */
  dirtyPages(vm: Vm): Gpa[] {
    const dirty: Gpa[] = [];
    for (const range of this.ranges) {
      const words = Math.ceil(range.size / PAGE_SIZE / 64) * 2;
      using bitmap = Mapping.anonymous(words * 4, `dirty bitmap of slot ${range.slot}`);
      vm.getDirtyLog(range.slot, bitmap);
      const bits = new Uint32Array(bitmap.view(0, words * 4));
      for (let word = 0; word < words; word++) {
        for (let rest = bits[word]; rest !== 0; rest = (rest & (rest - 1)) >>> 0) {
          dirty.push(range.gpa + (word * 32 + 31 - Math.clz32(rest & -rest)) * PAGE_SIZE);
        }
      }
    }
    return dirty;
  }

  /** The quick look in front of {@link #find}: the chunk of {@link #low} that holds the whole range; its offset is `gpa & OFFSET_MASK`. */
  #lowChunk(gpa: Gpa, length: number): Chunk | undefined {
    if (!(gpa >= 0 && gpa < 2 ** 32)) return undefined;
    const chunk = this.#low[gpa >>> CHUNK_SHIFT];
    return chunk !== undefined && (gpa & OFFSET_MASK) <= chunk.size - length ? chunk : undefined;
  }

  /** The chunk that holds the whole range, or undefined. */
  #find(gpa: Gpa, length: number): Chunk | undefined {
    let chunk = this.#chunks[Math.floor(gpa / CHUNK)];
    if (chunk === undefined || gpa < chunk.gpa || gpa - chunk.gpa >= chunk.size) chunk = this.#makeChunk(gpa);
    return chunk !== undefined && gpa - chunk.gpa + length <= chunk.size ? chunk : undefined;
  }

  #region(gpa: Gpa, length: number): MappedRegion | undefined {
    if (!(gpa >= 0 && length >= 0)) return undefined;
    return this.ranges.find((range) => gpa >= range.gpa && gpa + length <= range.gpa + range.size);
  }

  contains(gpa: Gpa, length: number): boolean {
    return this.#region(gpa, length) !== undefined;
  }

  hostAddress(gpa: Gpa, length: number): number {
    const region = this.#region(gpa, length);
    if (region === undefined) throw new GuestMemoryError(gpa, length);
    return region.hostAddress + (gpa - region.gpa);
  }

  bytes(gpa: Gpa, length: number): Uint8Array {
    const chunk = this.#find(gpa, length);
    if (chunk !== undefined && length >= 0)
      return chunk.bytes.subarray(gpa - chunk.gpa, gpa - chunk.gpa + length);
    return new Uint8Array(viewMemory(this.hostAddress(gpa, length), length));
  }

  write(gpa: Gpa, data: Uint8Array): void {
    this.bytes(gpa, data.length).set(data);
  }

  /** A view of a value that may straddle two chunks. */
  #straddling(gpa: Gpa, length: number): DataView {
    return new DataView(viewMemory(this.hostAddress(gpa, length), length));
  }

  readU8(gpa: Gpa): number {
    const chunk = this.#find(gpa, 1);
    if (chunk === undefined) throw new GuestMemoryError(gpa, 1);
    return chunk.view.getUint8(gpa - chunk.gpa);
  }
  readU16(gpa: Gpa): number {
    const low = this.#lowChunk(gpa, 2);
    if (low !== undefined) return low.view.getUint16(gpa & OFFSET_MASK, true);
    const chunk = this.#find(gpa, 2);
    if (chunk === undefined) return this.#straddling(gpa, 2).getUint16(0, true);
    return chunk.view.getUint16(gpa - chunk.gpa, true);
  }
  readU32(gpa: Gpa): number {
    const low = this.#lowChunk(gpa, 4);
    if (low !== undefined) return low.view.getUint32(gpa & OFFSET_MASK, true);
    const chunk = this.#find(gpa, 4);
    if (chunk === undefined) return this.#straddling(gpa, 4).getUint32(0, true);
    return chunk.view.getUint32(gpa - chunk.gpa, true);
  }
  readU64(gpa: Gpa): number {
    return this.readU32(gpa) + this.readU32(gpa + 4) * 2 ** 32;
  }
  writeU8(gpa: Gpa, value: number): void {
    const chunk = this.#find(gpa, 1);
    if (chunk === undefined) throw new GuestMemoryError(gpa, 1);
    chunk.view.setUint8(gpa - chunk.gpa, value);
  }
  writeU16(gpa: Gpa, value: number): void {
    const low = this.#lowChunk(gpa, 2);
    if (low !== undefined) {
      low.view.setUint16(gpa & OFFSET_MASK, value, true);
      return;
    }
    const chunk = this.#find(gpa, 2);
    if (chunk === undefined) this.#straddling(gpa, 2).setUint16(0, value, true);
    else chunk.view.setUint16(gpa - chunk.gpa, value, true);
  }
  writeU32(gpa: Gpa, value: number): void {
    const low = this.#lowChunk(gpa, 4);
    if (low !== undefined) {
      low.view.setUint32(gpa & OFFSET_MASK, value, true);
      return;
    }
    const chunk = this.#find(gpa, 4);
    if (chunk === undefined) this.#straddling(gpa, 4).setUint32(0, value, true);
    else chunk.view.setUint32(gpa - chunk.gpa, value, true);
  }
  writeU64(gpa: Gpa, value: number): void {
    this.writeU32(gpa, value % 2 ** 32);
    this.writeU32(gpa + 4, Math.floor(value / 2 ** 32));
  }

  /** Unmaps what {@link create} mapped. Every view and every attached thread must be done before. */
  [Symbol.dispose](): void {
    this.#chunks.length = 0;
    this.#low.length = 0;
    for (const mapping of this.#mappings) mapping[Symbol.dispose]();
    for (const file of this.#files) file[Symbol.dispose]();
  }
}

function mapMemfd(size: number, name: string, options: BackingOptions, files: FileDescriptor[]): Mapping {
  const file = new FileDescriptor(createMemfd('tvmm-guest-memory', options.hugePages === 'hugetlb'), name);
  files.push(file);
  check(ftruncate(file.fd, size), 'ftruncate', name);
  return Mapping.ofFile(file.fd, size, 0, name);
}

function checkRegions(sorted: readonly RegionSpec[]): void {
  sorted.forEach((spec, i) => {
    const at = `0x${spec.gpa.toString(16)}`;
    if (spec.gpa % PAGE_SIZE !== 0 || spec.size % PAGE_SIZE !== 0 || !(spec.size > 0)) {
      throw new TvmmError(`the memory region at ${at} (${spec.size} bytes) is not made of whole pages`, {
        code: 'MEMORY_NOT_PAGE_MULTIPLE',
      });
    }
    const next = sorted[i + 1];
    if (next !== undefined && spec.gpa + spec.size > next.gpa) {
      throw new TvmmError(`the memory regions at ${at} and 0x${next.gpa.toString(16)} overlap`, {
        code: 'MEMORY_OVERLAP',
      });
    }
  });
}
