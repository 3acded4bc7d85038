import { describe, expect, it } from 'vitest';
import {
  ALU_AND_K,
  BackwardAssembler,
  BPF_MAXINSNS,
  JMP_JEQ_K,
  LD_W_ABS,
  SeccompTooLongError,
} from './bpf.js';
import { decode, run, verify } from './testing/interpreter.js';

/** Instructions that do nothing but take room, before `next`. */
function filler(out: BackwardAssembler, count: number, next: number): number {
  let position = next;
  for (let index = 0; index < count; index += 1) position = out.step(ALU_AND_K, 0xffffffff, position);
  return position;
}

describe('the assembler', () => {
  it('reaches targets at every distance, the true one and the false one', () => {
    for (const near of [0, 1, 100, 251, 252, 253, 254, 255, 256, 257]) {
      for (let far = 230; far <= 280; far += 1) {
        for (const swapped of [false, true]) {
          const out = new BackwardAssembler();
          const last = out.ret(1);
          const middle = filler(out, far, out.ret(2));
          filler(out, near, out.ret(3));
          const test = swapped ? out.jump(JMP_JEQ_K, 7, middle, last) : out.jump(JMP_JEQ_K, 7, last, middle);
          out.step(LD_W_ABS, 0, test);
          const program = decode(out.bytes());
          verify(program);
          const verdict = (nr: number) => run(program, { nr, arch: 0, args: [] }).verdict;
          expect([verdict(7), verdict(8)], `${near}, ${far}`).toEqual(swapped ? [2, 1] : [1, 2]);
        }
      }
    }
  });

  it('shares a return that is near, and writes another where it is far', () => {
    const out = new BackwardAssembler();
    const first = out.ret(5);
    expect(out.ret(5)).toBe(first);
    filler(out, 300, first);
    expect(out.ret(5)).not.toBe(first);
  });

  it('makes no jump that goes the same way whatever comes', () => {
    const out = new BackwardAssembler();
    const only = out.ret(1);
    expect(out.jump(JMP_JEQ_K, 1, only, only)).toBe(only);
    expect(out.length).toBe(1);
  });

  it('writes struct sock_filter in little endian, from the first instruction to the last', () => {
    const out = new BackwardAssembler();
    out.step(LD_W_ABS, 4, out.ret(0x7fff0000));
    expect([...out.bytes()]).toEqual([0x20, 0, 0, 0, 4, 0, 0, 0, 0x06, 0, 0, 0, 0, 0, 0xff, 0x7f]);
  });

  it('takes as many instructions as the kernel, and not one more', () => {
    const out = new BackwardAssembler();
    filler(out, BPF_MAXINSNS - 1, out.ret(0));
    expect(out.length).toBe(BPF_MAXINSNS);
    expect(() => out.ret(1)).toThrow(SeccompTooLongError);
  });
});
