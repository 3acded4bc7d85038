/**
 * The allowed device list as an eBPF program for cgroup v2 (BPF_PROG_TYPE_CGROUP_DEVICE, <linux/bpf.h>; instruction set:
 * Documentation/bpf/standardization/instruction-set.rst). The rules are walked from the last to the first, and every kind of access that
 * is asked for is decided by the first rule met that speaks of it. Straight-line code, no maps, no helpers.
 */
import { ALL_ACCESS, type DeviceRule } from './device-rules.js';
import { CgroupDevicesError } from './errors.js';

/** Bytes of an instruction. */
export const INSTRUCTION = 8;

/** Opcodes that the compiler uses: class, operation and source in one byte. */
export const BPF = {
  /** dst = *(u32 *)(src + offset) */
  LDXW: 0x61,
  /** 64-bit ALU, immediate or register. */
  MOV_X: 0xbf,
  MOV_K: 0xb7,
  AND_K: 0x57,
  RSH_K: 0x77,
  /** if dst (op) immediate, skip `offset` instructions. */
  JEQ_K: 0x15,
  JNE_K: 0x55,
  JSET_K: 0x45,
  JA: 0x05,
  EXIT: 0x95,
} as const;

/** struct bpf_cgroup_dev_ctx */
const CONTEXT = { accessType: 0, major: 4, minor: 8 } as const;
/** BPF_DEVCG_DEV_* */
const TYPE = { b: 1, c: 2 } as const;
/** R1 points to the context at the start; R0 is the answer. */
const R0 = 0;
const R1 = 1;
const R_TYPE = 2;
const R_WANTED = 3;
const R_MAJOR = 4;
const R_MINOR = 5;
/** The verifier follows a million steps (kernel 5.2): two for every instruction of ours are far from that. */
const MAX_RULES = 4096;

interface Instruction {
  readonly code: number;
  readonly dst?: number;
  readonly src?: number;
  readonly offset?: number;
  readonly imm?: number;
}

/** The instructions of one rule; what does not match falls out at its end. */
function ruleCode({ allow, type, major, minor, access }: DeviceRule): Instruction[] {
  const decide: Instruction[] = allow
    ? [
        // What this rule allows is settled; when nothing is left, all of the request is.
        { code: BPF.AND_K, dst: R_WANTED, imm: ALL_ACCESS & ~access },
        { code: BPF.JNE_K, dst: R_WANTED, imm: 0, offset: 2 },
        { code: BPF.MOV_K, dst: R0, imm: 1 },
        { code: BPF.EXIT },
      ]
    : [
        { code: BPF.JSET_K, dst: R_WANTED, imm: access, offset: 1 },
        { code: BPF.JA, offset: 2 },
        { code: BPF.MOV_K, dst: R0, imm: 0 },
        { code: BPF.EXIT },
      ];
  const tests: [number, number | null][] = [
    [R_TYPE, TYPE[type]],
    [R_MAJOR, major],
    [R_MINOR, minor],
  ];
  const wanted = tests.filter((test): test is [number, number] => test[1] !== null);
  return [
    ...wanted.flatMap(([dst, imm], index) => {
      const after = 2 * (wanted.length - 1 - index) + decide.length;
      // The verifier follows what does not jump first. There that is "no match", which knows nothing of the device and so covers all
      // that is known on the other ways to the next rule: its work stays linear in the rules instead of quadratic.
      return [
        { code: BPF.JEQ_K, dst, imm, offset: 1 },
        { code: BPF.JA, offset: after },
      ];
    }),
    ...decide,
  ];
}

/** Rules that come into play: those before a complete answer for a type are never reached. */
function reachable(rules: readonly DeviceRule[]): DeviceRule[] {
  const settled = new Set<string>();
  const kept: DeviceRule[] = [];
  for (const rule of rules.toReversed()) {
    if (settled.has(rule.type)) continue;
    kept.push(rule);
    if (rule.major === null && rule.minor === null && rule.access === ALL_ACCESS) settled.add(rule.type);
  }
  return kept;
}

/**
 * Compiles a rule list.
 *
 * @returns instructions of 8 bytes, little endian, as bpf(2) takes them
 * @throws CgroupDevicesError for a list that is too long
 */
export function compileDeviceProgram(rules: readonly DeviceRule[]): Uint8Array {
  const kept = reachable(rules);
  if (kept.length > MAX_RULES)
    throw new CgroupDevicesError(`${kept.length} device rules are more than the ${MAX_RULES} that fit`);
  return encode([
    { code: BPF.LDXW, dst: R_TYPE, src: R1, offset: CONTEXT.accessType },
    { code: BPF.MOV_X, dst: R_WANTED, src: R_TYPE },
    // The access is in the upper half, the type in the lower.
    { code: BPF.RSH_K, dst: R_WANTED, imm: 16 },
    { code: BPF.AND_K, dst: R_TYPE, imm: 0xffff },
    { code: BPF.LDXW, dst: R_MAJOR, src: R1, offset: CONTEXT.major },
    { code: BPF.LDXW, dst: R_MINOR, src: R1, offset: CONTEXT.minor },
    ...kept.flatMap(ruleCode),
    { code: BPF.MOV_K, dst: R0, imm: 0 },
    { code: BPF.EXIT },
  ]);
}

function encode(instructions: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(instructions.length * INSTRUCTION);
  const view = new DataView(bytes.buffer);
  instructions.forEach(({ code, dst = 0, src = 0, offset = 0, imm = 0 }, index) => {
    view.setUint8(index * INSTRUCTION, code);
    view.setUint8(index * INSTRUCTION + 1, (src << 4) | dst);
    view.setInt16(index * INSTRUCTION + 2, offset, true);
    view.setInt32(index * INSTRUCTION + 4, imm, true);
  });
  return bytes;
}
