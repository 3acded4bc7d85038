/**
 * Classic BPF as seccomp(2) takes it (linux/filter.h, linux/bpf_common.h): the opcodes, and an assembler that writes a program from its
 * end to its start. All jumps of BPF go forward, so a target is always there before the jump to it, and a distance of more than 255 is
 * bridged by a BPF_JA. Refuses to grow beyond the kernel's limit.
 */
import { TvmmError } from '../../sys/errors.js';

/** linux/bpf_common.h: BPF_MAXINSNS, in instructions. */
export const BPF_MAXINSNS = 4096;
/** struct sock_filter: u16 code, u8 jt, u8 jf, u32 k. */
const SOCK_FILTER_BYTES = 8;

/** BPF_LD | BPF_W | BPF_ABS: A = the 32-bit word at offset k of struct seccomp_data. */
export const LD_W_ABS = 0x20;
/** BPF_ALU | BPF_AND | BPF_K: A &= k. */
export const ALU_AND_K = 0x54;
/** BPF_JMP | BPF_JA: on, by k. */
export const JMP_JA = 0x05;
/** BPF_JMP | BPF_JEQ | BPF_K, BPF_JGT, BPF_JGE: unsigned comparison of A with k. */
export const JMP_JEQ_K = 0x15;
export const JMP_JGT_K = 0x25;
export const JMP_JGE_K = 0x35;
/** BPF_RET | BPF_K: the verdict is k. */
export const RET_K = 0x06;

/** struct seccomp_data (linux/seccomp.h): offsets in bytes. */
export const SECCOMP_DATA_NR = 0;
export const SECCOMP_DATA_ARCH = 4;
export const SECCOMP_DATA_ARGS = 16;

/** A filter that the kernel would not take for its length. */
export class SeccompTooLongError extends TvmmError {
  constructor() {
    super(
      `seccomp profile: its filter has more than the ${BPF_MAXINSNS} instructions that the kernel takes`,
      {
        code: 'SECCOMP_FILTER_TOO_LONG',
        hint: 'use fewer rules with conditions on arguments',
      },
    );
  }
}

/** The farthest that a conditional jump reaches, in instructions (u8). */
const JUMP_REACH = 255;
/** A return is shared while a jump to it still has room for what comes between. */
const SHARED_REACH = 200;

/** Where an instruction stands, counted from the program's end. */
export type Position = number;

/** Assembles a program backwards: what is written first, runs last. */
export class BackwardAssembler {
  readonly #code: number[] = [];
  readonly #operands: number[] = [];
  readonly #returns = new Map<number, Position>();

  /** Instructions so far. */
  get length(): number {
    return this.#code.length;
  }

  #write(code: number, jt: number, jf: number, k: number): Position {
    if (this.#code.length === BPF_MAXINSNS) throw new SeccompTooLongError();
    this.#operands.push(k >>> 0);
    return this.#code.push(code | (jt << 16) | (jf << 24)) - 1;
  }

  /** How far a jump, written next, would have to go. */
  #distance(target: Position): number {
    return this.#code.length - 1 - target;
  }

  /** `ret #value`, or one nearby that does the same. */
  ret(value: number): Position {
    const shared = this.#returns.get(value);
    if (shared !== undefined && this.#distance(shared) <= SHARED_REACH) return shared;
    const position = this.#write(RET_K, 0, 0, value);
    this.#returns.set(value, position);
    return position;
  }

  /** A load or an ALU operation that goes on at `next`. */
  step(code: number, k: number, next: Position): Position {
    this.goto(next);
    return this.#write(code, 0, 0, k);
  }

  /** Makes `next` what is executed after the instruction that is written next. */
  goto(next: Position): void {
    if (this.#distance(next) > 0) this.#write(JMP_JA, 0, 0, this.#distance(next));
  }

  /** A conditional jump; far targets are reached over a BPF_JA right behind it. */
  jump(code: number, k: number, whenTrue: Position, whenFalse: Position): Position {
    if (whenTrue === whenFalse) return whenTrue;
    let yes = whenTrue;
    let no = whenFalse;
    // One less than the reach: the other target's bridge may still come between.
    if (this.#distance(yes) >= JUMP_REACH) yes = this.#write(JMP_JA, 0, 0, this.#distance(yes));
    if (this.#distance(no) > JUMP_REACH) no = this.#write(JMP_JA, 0, 0, this.#distance(no));
    return this.#write(code, this.#distance(yes), this.#distance(no), k);
  }

  /** The program from its start to its end: struct sock_filter in little endian. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.#code.length * SOCK_FILTER_BYTES);
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (let index = this.#code.length - 1; index >= 0; index -= 1) {
      view.setUint32(at, this.#code[index] ?? 0, true);
      view.setUint32(at + 4, this.#operands[index] ?? 0, true);
      at += SOCK_FILTER_BYTES;
    }
    return bytes;
  }
}
