/**
 * The part of the kernel that runs seccomp filters, for tests: checks a program as seccomp(2) would (net/core/filter.c,
 * bpf_check_classic; kernel/seccomp.c, seccomp_check_filter) and runs it over a struct seccomp_data. Not shipped.
 */
import { ALU_AND_K, BPF_MAXINSNS, JMP_JA, JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, LD_W_ABS, RET_K } from '../bpf.js';

/** struct seccomp_data without the instruction pointer, which no profile can ask about. */
export interface SeccompData {
  readonly nr: number;
  readonly arch: number;
  readonly args: readonly bigint[];
}

interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** Bytes to instructions. */
export function decode(filter: Uint8Array): Instruction[] {
  if (filter.length % 8 !== 0) throw new Error('a filter is a multiple of 8 bytes');
  const view = new DataView(filter.buffer, filter.byteOffset, filter.length);
  return Array.from({ length: filter.length / 8 }, (_, index) => ({
    code: view.getUint16(index * 8, true),
    jt: filter[index * 8 + 2] ?? 0,
    jf: filter[index * 8 + 3] ?? 0,
    k: view.getUint32(index * 8 + 4, true),
  }));
}

/** Throws where the kernel would answer EINVAL. */
export function verify(program: readonly Instruction[]): void {
  const length = program.length;
  if (length === 0 || length > BPF_MAXINSNS) throw new Error(`${length} instructions`);
  program.forEach(({ code, jt, jf, k }, pc) => {
    const inside = (offset: number) => {
      if (pc + 1 + offset >= length) throw new Error(`jump out of the program at ${pc}`);
    };
    switch (code) {
      case LD_W_ABS:
        if (k % 4 !== 0 || k >= 64) throw new Error(`load of offset ${k} at ${pc}`);
        break;
      case JMP_JA:
        inside(k);
        break;
      case JMP_JEQ_K:
      case JMP_JGT_K:
      case JMP_JGE_K:
        inside(jt);
        inside(jf);
        break;
      case ALU_AND_K:
      case RET_K:
        break;
      default:
        throw new Error(`opcode ${code} at ${pc}`);
    }
  });
  if (program[length - 1]?.code !== RET_K) throw new Error('the last instruction is no return');
}

/** Runs a verified program; the result is the return value and the number of instructions it took. */
export function run(program: readonly Instruction[], data: SeccompData): { verdict: number; steps: number } {
  const words = [data.nr >>> 0, data.arch >>> 0, 0, 0];
  for (const arg of data.args) words.push(Number(arg & 0xffffffffn), Number(arg >> 32n));
  let a = 0;
  let pc = 0;
  for (let steps = 1; ; steps += 1) {
    const at = program[pc];
    if (at === undefined) throw new Error(`ran out of the program at ${pc}`);
    const { code, jt, jf, k } = at;
    pc += 1;
    if (code === RET_K) return { verdict: k, steps };
    if (code === LD_W_ABS) a = words[k / 4] ?? 0;
    else if (code === ALU_AND_K) a = (a & k) >>> 0;
    else if (code === JMP_JA) pc += k;
    else if (code === JMP_JEQ_K) pc += a === k ? jt : jf;
    else if (code === JMP_JGT_K) pc += a > k ? jt : jf;
    else pc += a >= k ? jt : jf;
  }
}
