/**
 * Numbers of the Virtual I/O Device specification 1.2 that queue, device and both transports share. Names are the specification's.
 */

/** Device status bits (section 2.1). */
export const STATUS = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  DEVICE_NEEDS_RESET: 64,
  FAILED: 128,
} as const;

/** Reserved feature bits (section 6): the low word holds bits 0 to 31, the high word 32 to 63. */
export const VIRTIO_F_INDIRECT_DESC = 2 ** 28;
export const VIRTIO_F_EVENT_IDX = 2 ** 29;
/** Bit 32. */
export const VIRTIO_F_VERSION_1_HI = 2 ** 0;

/** ISR status bits (sections 4.1.4.5 and 4.2.2). */
export const ISR_QUEUE = 1;
export const ISR_CONFIG = 2;

/** "No vector" in the MSI-X vector registers (section 4.1.5.1.2). */
export const VIRTIO_MSI_NO_VECTOR = 0xffff;

/** Descriptor flags (section 2.7.5). */
export const VIRTQ_DESC_F_NEXT = 1;
export const VIRTQ_DESC_F_WRITE = 2;
export const VIRTQ_DESC_F_INDIRECT = 4;
/** avail.flags (2.7.6) and used.flags (2.7.8). */
export const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
export const VIRTQ_USED_F_NO_NOTIFY = 1;

/** The largest split virtqueue (section 2.7). */
export const VIRTQUEUE_MAX_SIZE = 32768;

/** Device ids (section 5). */
export const VIRTIO_ID = { NET: 1, BLOCK: 2, CONSOLE: 3, RNG: 4, BALLOON: 5, VSOCK: 19, FS: 26 } as const;
