/**
 * The io_uring ABI as tables: system call numbers (asm/unistd_64.h), structure layouts and constants of <linux/io_uring.h>.
 * The test compares every number with what gcc reads from the kernel's headers. Only what the block device needs is here.
 */

export const SYS_io_uring_setup = 425;
export const SYS_io_uring_enter = 426;
export const SYS_io_uring_register = 427;

/** enum io_uring_op; all of them exist since Linux 5.6. */
export const IORING_OP = {
  NOP: 0,
  READV: 1,
  WRITEV: 2,
  FSYNC: 3,
  FALLOCATE: 17,
  READ: 22,
  WRITE: 23,
} as const;

/** Constants by their name without the `IORING_` prefix. */
export const IORING = {
  SETUP_CQSIZE: 1 << 3,
  SETUP_CLAMP: 1 << 4,
  FSYNC_DATASYNC: 1 << 0,
  ENTER_GETEVENTS: 1 << 0,
  SQ_CQ_OVERFLOW: 1 << 1,
  FEAT_SINGLE_MMAP: 1 << 0,
  FEAT_NODROP: 1 << 1,
  OFF_SQ_RING: 0,
  OFF_CQ_RING: 0x800_0000,
  OFF_SQES: 0x1000_0000,
  REGISTER_EVENTFD: 4,
  UNREGISTER_EVENTFD: 5,
  REGISTER_PROBE: 8,
} as const;
export const IO_URING_OP_SUPPORTED = 1;

/** struct io_uring_sqe: 64 bytes; offsets in bytes. */
export const SQE = {
  size: 64,
  opcode: 0,
  flags: 1,
  ioprio: 2,
  fd: 4,
  off: 8,
  addr: 16,
  len: 24,
  rw_flags: 28,
  user_data: 32,
} as const;

/** struct io_uring_cqe: 16 bytes. */
export const CQE = { size: 16, user_data: 0, res: 8, flags: 12 } as const;

/** struct io_uring_params: 120 bytes; `sq_off` and `cq_off` are io_sqring_offsets and io_cqring_offsets. */
export const PARAMS = {
  size: 120,
  sq_entries: 0,
  cq_entries: 4,
  flags: 8,
  features: 20,
  sq_off: 40,
  cq_off: 80,
} as const;
export const SQ_OFFSETS = {
  size: 40,
  head: 0,
  tail: 4,
  ring_mask: 8,
  ring_entries: 12,
  flags: 16,
  dropped: 20,
  array: 24,
} as const;
export const CQ_OFFSETS = {
  size: 40,
  head: 0,
  tail: 4,
  ring_mask: 8,
  ring_entries: 12,
  overflow: 16,
  cqes: 20,
  flags: 24,
} as const;

/** struct io_uring_probe (header) and struct io_uring_probe_op. */
export const PROBE = { size: 16, last_op: 0, ops_len: 1, ops: 16 } as const;
export const PROBE_OP = { size: 8, op: 0, flags: 2 } as const;
