/**
 * The binary form of a plan, version 1: what encode.ts writes and firmware/launcher.c reads. All numbers are little endian.
 *
 *     header            HEADER_SIZE bytes
 *     program records   first step u32, steps u32
 *     step records      STEP_SIZE bytes each, programs one after the other
 *     inherited         register u32, descriptor i32
 *     relocations       at u32, to u32: the 8 bytes of data at `at` become the address of the data at `to`
 *     patches           at u32, size u8, register u8, 0 u16: data at `at` takes the register's value
 *     data              ends with a zero byte, so that every string in it ends
 *
 * The data stands last: a call that writes more than a plan has room for reaches the unmapped page behind it, and nothing of the launcher.
 */

/** "TVMMPLAN" */
export const MAGIC = 0x4e414c504d4d5654n;
export const FORMAT_VERSION = 1;

/** Offsets in the header. Every table is given by its offset and count, the data by offset and bytes. */
export const HEADER = {
  magic: 0,
  version: 8,
  totalSize: 12,
  programsAt: 16,
  programs: 20,
  stepsAt: 24,
  steps: 28,
  inheritedAt: 32,
  inherited: 36,
  relocationsAt: 40,
  relocations: 44,
  patchesAt: 48,
  patches: 52,
  dataAt: 56,
  dataSize: 60,
} as const;
export const HEADER_SIZE = 64;

/** Offsets in a step record. What `number`, `flags` and the arguments mean is told at OP. */
export const STEP = {
  op: 0,
  flags: 1,
  result: 2,
  register: 3,
  number: 4,
  firstPatch: 8,
  patches: 12,
  what: 16,
  allow: 20,
  kinds: 28,
  arguments: 40,
} as const;
export const STEP_SIZE = 88;
export const PROGRAM_SIZE = 8;
export const INHERITED_SIZE = 8;
export const RELOCATION_SIZE = 8;
export const PATCH_SIZE = 8;

/** At most this much of a plan is read. */
export const MAX_PLAN_BYTES = 16 * 2 ** 20;

/** No register; no peer (the engine); no text. */
export const NO_REGISTER = 0xff;
export const ENGINE = 0xff;
export const NO_TEXT = 0xffff_ffff;

/** What an argument's 8 bytes are. */
export const KIND = { number: 0, register: 1, data: 2 } as const;

/** Operations, and where their parts stand (`a0` to `a5` are the arguments). */
export const OP = {
  /** Nothing: keeps the step's index what it is in the plan. */
  label: 0,
  /** `number` the system call, flags bit 0: repeat after EINTR, bit 1: whatever fails is allowed. */
  call: 1,
  /** `number` the child's program, a0 flags, `register` the cgroup's descriptor. */
  clone: 2,
  /** `number` the step of this program to go on at, flags CONDITION, `register`. */
  jump: 3,
  /** `number` the tag, `register` the value, flags the peer's program or ENGINE. */
  send: 4,
  /** As send; `result`. */
  receive: 5,
  /** `register` the root, a0 path, a1 mode, flags 1 for a file; `result`. */
  ensure: 6,
  /** a0 from, a1 to. */
  'copy-tree': 7,
  /** `register`, a0 where, a1 width, flags 1 for right. */
  decimal: 8,
  /** a0 socket, a1 descriptor, a2 payload, a3 its bytes. */
  'send-descriptor': 9,
  /** a0 path, a1 argv, a2 environment, a3 input, a4 its bytes, a5 seconds or 0. */
  hook: 10,
  /** a0 candidates, a1 argv, a2 environment. */
  exec: 11,
  /** `register` the child, flags bit 0 reap, `number` the tag; with `result` the program goes on. */
  supervise: 12,
  /** `number` the status. */
  exit: 13,
  /** a0 where, flags the bytes, a1 mask, `number` 1: whether the masked field is a2, 0: the masked field; `result`. */
  load: 14,
  /** a0 where, flags the bytes, a1 mask, a2 value, `number` the errno. */
  expect: 15,
  /** `register` the wait status, flags bit 0 alone, `number` the tag. */
  end: 16,
} as const;

export const CONDITION = { always: 0, negative: 1, 'not-negative': 2, zero: 3, 'not-zero': 4 } as const;

export const FLAG_RESTART = 1;
export const FLAG_ALLOW_ANY = 2;
export const FLAG_FILE = 1;
export const FLAG_RIGHT = 1;
export const FLAG_REAP = 1;
export const FLAG_ALONE = 1;

/** What clone steps may ask for: new namespaces (CLONE_NEWTIME is 0x80), CLONE_PARENT, CLONE_CLEAR_SIGHAND. Nothing shared with the child. */
export const CLONE_FLAGS = 0x7e02_0080n | 0x8000n | 0x1_0000_0000n;
