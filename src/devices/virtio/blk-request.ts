/**
 * virtio-blk's request format (Virtual I/O Device 1.2, sections 5.2.3 to 5.2.6): numbers, the request header and the status byte. The driver
 * may split a request into buffers wherever it likes (section 2.7.4): nothing here assumes that a field has a buffer of its own.
 */
import type { GuestRam } from '../../memory/types.js';
import type { DescriptorChain } from './queue.js';
import { RamMap } from './ram-map.js';

/** Feature bits (section 5.2.3). */
export const VIRTIO_BLK_F = {
  SEG_MAX: 2,
  RO: 5,
  BLK_SIZE: 6,
  FLUSH: 9,
  TOPOLOGY: 10,
  MQ: 12,
  DISCARD: 13,
  WRITE_ZEROES: 14,
} as const;

/** Request types (section 5.2.6). */
export const VIRTIO_BLK_T = {
  IN: 0,
  OUT: 1,
  FLUSH: 4,
  GET_ID: 8,
  DISCARD: 11,
  WRITE_ZEROES: 13,
} as const;

/** Status values (section 5.2.6). */
export const VIRTIO_BLK_S = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

/** struct virtio_blk_config (section 5.2.4): offsets of what this device fills in. */
export const BLK_CONFIG = {
  capacity: 0,
  seg_max: 12,
  blk_size: 20,
  physical_block_exp: 24,
  alignment_offset: 25,
  min_io_size: 26,
  opt_io_size: 28,
  num_queues: 34,
  max_discard_sectors: 36,
  max_discard_seg: 40,
  discard_sector_alignment: 44,
  max_write_zeroes_sectors: 48,
  max_write_zeroes_seg: 52,
  write_zeroes_may_unmap: 56,
  size: 60,
} as const;

/** struct virtio_blk_req: type (le32), reserved (le32), sector (le64). */
export const HEADER_SIZE = 16;
/** struct virtio_blk_discard_write_zeroes: sector (le64), num_sectors (le32), flags (le32). */
export const RANGE_SIZE = 16;
/** VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP: bit 0 of the flags. */
export const FLAG_UNMAP = 1;
/** Bytes of the string that GET_ID returns; shorter ones end in zeroes. */
export const ID_SIZE = 20;

/** Fields of up to 16 bytes out of a chain's readable part, however it is split. Made once. */
export class ChainReader {
  readonly #words = new Uint32Array(HEADER_SIZE / 4);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  readonly #map: RamMap;

  constructor(readonly ram: GuestRam) {
    this.#map = RamMap.of(ram);
  }

  /** Copies 16 bytes from `skip` on; false when the readable part is shorter. */
  load(chain: DescriptorChain, skip: number): boolean {
    if (chain.readableBytes < skip + HEADER_SIZE) return false;
    return (skip === 0 && this.#loadWhole(chain.addresses[0], chain.lengths[0])) || this.#gather(chain, skip);
  }

  /** What every driver does: the header is a buffer of its own, aligned. */
  #loadWhole(gpa: number, length: number): boolean {
    if (length < HEADER_SIZE) return false;
    const direct = this.#map.wordsAt(gpa, HEADER_SIZE);
    if (direct === undefined) return false;
    const from = (gpa - direct.gpa) / 4;
    const { words } = direct;
    for (let i = 0; i < HEADER_SIZE / 4; i++) this.#words[i] = words[from + i];
    return true;
  }

  #gather(chain: DescriptorChain, skip: number): boolean {
    let at = 0;
    let before = skip;
    for (let i = 0; i < chain.readable && at < HEADER_SIZE; i++) {
      const length = chain.lengths[i];
      if (before >= length) {
        before -= length;
        continue;
      }
      const take = Math.min(length - before, HEADER_SIZE - at);
      for (let k = 0; k < take; k++) this.#bytes[at++] = this.ram.readU8(chain.addresses[i] + before + k);
      before = 0;
    }
    return true;
  }

  /** @param offset a multiple of 4 */
  u32(offset: number): number {
    return this.#words[offset >>> 2];
  }

  /** Rounded above 2^53, where it is out of every range anyway. */
  u64(offset: number): number {
    return this.u32(offset) + this.u32(offset + 4) * 2 ** 32;
  }
}
