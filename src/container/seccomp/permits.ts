/**
 * What a compiled filter says to a call: so that a launch can install it early where it lets the rest of the launch pass. Pure; runs the
 * instructions that compile.ts writes, and takes whatever it does not know for a refusal.
 */
import { ALU_AND_K, JMP_JA, JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, LD_W_ABS, RET_K } from './bpf.js';
import { AUDIT_ARCH_X86_64, type SeccompProgram } from './compile.js';
import { syscallTable } from './syscalls.js';

/** linux/seccomp.h: SECCOMP_RET_*. */
const ALLOW = 0x7fff_0000;
const LOG = 0x7ffc_0000;
const ERRNO = 0x0005_0000;

/** A system call as the kernel shows it to a filter; arguments that are left out are 0. */
export interface ShownCall {
  readonly call: string;
  readonly args?: readonly number[];
}

/** The filter's return value. */
export function verdict({ filter }: Pick<SeccompProgram, 'filter'>, { call, args = [] }: ShownCall): number {
  const view = new DataView(filter.buffer, filter.byteOffset, filter.length);
  // struct seccomp_data: number, architecture, instruction pointer, arguments of 8 bytes.
  const words = [(syscallTable().get(call)?.x86_64 ?? -1) >>> 0, AUDIT_ARCH_X86_64, 0, 0];
  for (const argument of args) words.push(argument >>> 0, 0);
  let value = 0;
  for (let at = 0; at + 8 <= filter.length; at += 8) {
    const [code, k] = [view.getUint16(at, true), view.getUint32(at + 4, true)];
    const branch = (taken: boolean) => 8 * view.getUint8(at + (taken ? 2 : 3));
    if (code === RET_K) return k;
    if (code === LD_W_ABS) value = words[k / 4] ?? 0;
    else if (code === ALU_AND_K) value = (value & k) >>> 0;
    else if (code === JMP_JA) at += 8 * k;
    else if (code === JMP_JEQ_K) at += branch(value === k);
    else if (code === JMP_JGT_K) at += branch(value > k);
    else if (code === JMP_JGE_K) at += branch(value >= k);
    else return 0;
  }
  return 0;
}

/** Whether the call passes. */
export function permits(program: Pick<SeccompProgram, 'filter'>, call: ShownCall): boolean {
  const said = verdict(program, call);
  return said === ALLOW || said === LOG;
}

/** Whether the call fails with an errno. */
export function refusesWith(
  program: Pick<SeccompProgram, 'filter'>,
  call: ShownCall,
  errno: number,
): boolean {
  return verdict(program, call) === ERRNO + errno;
}
