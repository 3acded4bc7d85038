/**
 * virtio-blk, the model (Virtual I/O Device 1.2, section 5.2): features and configuration space. Requests are served by {@link BlkPlane}.
 *
 * It is a plain disk: no geometry, no SCSI passthrough, no zones, no lifetime. The write cache is the host's page cache, which FLUSH
 * empties; a driver that does not take FLUSH gets every write through to the medium.
 */
import type { AccessSize } from '../device.js';
import type { Aio } from './blk-io.js';
import { BlkPlane } from './blk-plane.js';
import { BLK_CONFIG, ID_SIZE, VIRTIO_BLK_F } from './blk-request.js';
import { VIRTIO_ID } from './constants.js';
import type { DataPlane, DataPlaneHost } from './data-plane.js';
import { type VirtioContext, VirtioDevice } from './device.js';
import { type DiskInfo, SECTOR_SIZE } from './disk-image.js';

/** Plain data, the same on every thread. */
export interface BlkConfig {
  /** For messages and the serial number: `drive0`. */
  readonly id: string;
  readonly disk: DiskInfo;
  /** What the guest reads as serial number: at most 20 bytes; the id unless given. */
  readonly serial?: string;
  /** Default `auto`. */
  readonly aio?: Aio;
  /** 1 unless given: one I/O thread serves them all, so that more only spare the guest's CPUs a lock. */
  readonly queues?: number;
  /** A power of two; 512 unless given, which lets 1 MiB of scattered pages be one request. */
  readonly queueSize?: number;
}

const QUEUE_SIZE = 512;
/** 1 GiB a request. */
const MAX_RANGE_SECTORS = 2 ** 30 / SECTOR_SIZE;
/** What file systems and disks like to see: 4 KiB. */
const PHYSICAL_BLOCK = 4096;

function features(config: BlkConfig): number {
  const { disk, queues = 1 } = config;
  const bits: number[] = [
    VIRTIO_BLK_F.SEG_MAX,
    VIRTIO_BLK_F.BLK_SIZE,
    VIRTIO_BLK_F.FLUSH,
    VIRTIO_BLK_F.TOPOLOGY,
  ];
  if (disk.readOnly) bits.push(VIRTIO_BLK_F.RO);
  else bits.push(VIRTIO_BLK_F.WRITE_ZEROES);
  if (disk.discard) bits.push(VIRTIO_BLK_F.DISCARD);
  if (queues > 1) bits.push(VIRTIO_BLK_F.MQ);
  return bits.reduce((sum, bit) => sum | (1 << bit), 0);
}

/** struct virtio_blk_config, little-endian. Fields of features that are not offered stay zero. */
export function blkConfigSpace(config: BlkConfig): Uint8Array {
  const { disk, queues = 1, queueSize = QUEUE_SIZE } = config;
  const bytes = new Uint8Array(BLK_CONFIG.size);
  const view = new DataView(bytes.buffer);
  const physical = Math.max(PHYSICAL_BLOCK, disk.blockSize);
  view.setBigUint64(BLK_CONFIG.capacity, BigInt(disk.sectors), true);
  // Two descriptors of each chain are the header and the status.
  view.setUint32(BLK_CONFIG.seg_max, queueSize - 2, true);
  view.setUint32(BLK_CONFIG.blk_size, disk.blockSize, true);
  view.setUint8(BLK_CONFIG.physical_block_exp, Math.log2(physical / disk.blockSize));
  view.setUint16(BLK_CONFIG.min_io_size, physical / disk.blockSize, true);
  view.setUint16(BLK_CONFIG.num_queues, queues, true);
  if (disk.discard) {
    view.setUint32(BLK_CONFIG.max_discard_sectors, MAX_RANGE_SECTORS, true);
    view.setUint32(BLK_CONFIG.max_discard_seg, 1, true);
    view.setUint32(BLK_CONFIG.discard_sector_alignment, physical / SECTOR_SIZE, true);
  }
  if (!disk.readOnly) {
    view.setUint32(BLK_CONFIG.max_write_zeroes_sectors, MAX_RANGE_SECTORS, true);
    view.setUint32(BLK_CONFIG.max_write_zeroes_seg, 1, true);
    view.setUint8(BLK_CONFIG.write_zeroes_may_unmap, disk.discard ? 1 : 0);
  }
  return bytes;
}

export class VirtioBlk extends VirtioDevice {
  readonly #config: BlkConfig;
  readonly #space: DataView;

  constructor(context: VirtioContext, config: BlkConfig) {
    const { queues = 1, queueSize = QUEUE_SIZE } = config;
    super(context, {
      name: `${config.id} (virtio-blk)`,
      deviceId: VIRTIO_ID.BLOCK,
      queueSizes: Array(queues).fill(queueSize),
      features: features(config),
    });
    this.#config = config;
    this.#space = new DataView(blkConfigSpace(config).buffer);
  }

  override readConfig(offset: number, size: AccessSize): number {
    if (offset + size > BLK_CONFIG.size) return 0;
    if (size === 4) return this.#space.getUint32(offset, true);
    return size === 2 ? this.#space.getUint16(offset, true) : this.#space.getUint8(offset);
  }

  createDataPlane(host: DataPlaneHost): DataPlane {
    const { disk, id, serial = id, aio = 'auto', queues = 1, queueSize = QUEUE_SIZE } = this.#config;
    return new BlkPlane(host, disk, {
      queues,
      slots: queues * queueSize,
      serial: new TextEncoder().encode(serial).subarray(0, ID_SIZE),
      maxRangeSectors: MAX_RANGE_SECTORS,
      aio,
    });
  }
}
