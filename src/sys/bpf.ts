/**
 * bpf(2) for programs on cgroups: load, attach, replace, detach, query. Numbers and layouts: <linux/bpf.h>, `enum bpf_cmd` and
 * `union bpf_attr`. No maps, no BTF, no links.
 */
import { ERRNO } from './errno.js';
import { SystemError } from './errors.js';
import { FileDescriptor } from './fd.js';
import { lastErrno, syscall } from './libc.js';
import { Mapping } from './mapping.js';

const SYS_bpf = 321;

/** enum bpf_cmd */
const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
const BPF_PROG_DETACH = 9;
const BPF_PROG_GET_FD_BY_ID = 13;
const BPF_PROG_QUERY = 16;

/** enum bpf_prog_type and enum bpf_attach_type */
const BPF_PROG_TYPE_CGROUP_DEVICE = 15;
const BPF_CGROUP_DEVICE = 6;

const BPF_F_ALLOW_MULTI = 2;
const BPF_F_REPLACE = 4;

/** Attributes up to where kernels since 6.17 write in a query, whatever size they are told. */
const ATTRIBUTES = 64;
/** The kernel allows 64 programs on a cgroup (BPF_CGROUP_MAX_PROGS). */
const MAX_PROGRAMS = 64;
const LOG_SIZE = 64 * 1024;
/** A signal makes the verifier give up with EAGAIN. */
const LOAD_TRIES = 30;
const INSTRUCTION = 8;

/** Calls bpf(2) with `attributes`, whose pointers lead into `memory`. @returns the result, or the negated errno */
function bpf(command: number, memory: Mapping): number {
  const result = syscall(SYS_bpf, command, memory.address, ATTRIBUTES, 0, 0, 0);
  return result === -1 ? -lastErrno() : result;
}

function fail(call: string, object: string, result: number, hint?: string): never {
  throw new SystemError(call, object, -result, hint);
}

/**
 * Loads a device program. @returns its descriptor, close-on-exec
 *
 * @param code instructions of 8 bytes
 * @throws SystemError; the verifier's words are the hint
 */
export function loadDeviceProgram(code: Uint8Array): FileDescriptor {
  const LICENSE = ATTRIBUTES;
  const CODE = LICENSE + 16;
  const LOG = CODE + code.length;
  using memory = Mapping.anonymous(LOG + LOG_SIZE, 'bpf program');
  const bytes = new Uint8Array(memory.view());
  const view = new DataView(memory.view());
  view.setUint32(0, BPF_PROG_TYPE_CGROUP_DEVICE, true);
  view.setUint32(4, code.length / INSTRUCTION, true);
  view.setBigUint64(8, BigInt(memory.address + CODE), true);
  view.setBigUint64(16, BigInt(memory.address + LICENSE), true);
  bytes.set(Buffer.from('Apache-2.0\0'), LICENSE);
  bytes.set(code, CODE);
  let result = 0;
  for (let tries = 0; tries < LOAD_TRIES; tries++) {
    result = bpf(BPF_PROG_LOAD, memory);
    if (result !== -ERRNO.EAGAIN) break;
  }
  if (result >= 0) return new FileDescriptor(result, 'bpf program');
  // Once more, with the verifier's log: only a refusal is worth its cost.
  let hint: string | undefined;
  if (result === -ERRNO.EINVAL || result === -ERRNO.EACCES) {
    view.setUint32(24, 1, true);
    view.setUint32(28, LOG_SIZE, true);
    view.setBigUint64(32, BigInt(memory.address + LOG), true);
    bpf(BPF_PROG_LOAD, memory);
    const log = bytes.subarray(LOG, LOG + LOG_SIZE);
    const text = Buffer.from(log.subarray(0, log.indexOf(0))).toString('utf8');
    hint = text.trim().split('\n').slice(-2).join('; ') || undefined;
  }
  return fail('bpf(BPF_PROG_LOAD)', 'device program', result, hint);
}

/** Ids of the device programs on the cgroup itself. @throws SystemError */
export function deviceProgramIds(cgroup: number): number[] {
  using memory = Mapping.anonymous(ATTRIBUTES + MAX_PROGRAMS * 4, 'bpf query');
  const view = new DataView(memory.view());
  view.setUint32(0, cgroup, true);
  view.setUint32(4, BPF_CGROUP_DEVICE, true);
  view.setBigUint64(16, BigInt(memory.address + ATTRIBUTES), true);
  view.setUint32(24, MAX_PROGRAMS, true);
  const result = bpf(BPF_PROG_QUERY, memory);
  if (result < 0) fail('bpf(BPF_PROG_QUERY)', 'device programs', result);
  const count = Math.min(view.getUint32(24, true), MAX_PROGRAMS);
  return Array.from({ length: count }, (_, index) => view.getUint32(ATTRIBUTES + index * 4, true));
}

/** The program with an id; undefined when it is gone or not ours to touch. */
export function deviceProgramById(id: number): FileDescriptor | undefined {
  using memory = Mapping.anonymous(ATTRIBUTES, 'bpf attributes');
  new DataView(memory.view()).setUint32(0, id, true);
  const result = bpf(BPF_PROG_GET_FD_BY_ID, memory);
  return result < 0 ? undefined : new FileDescriptor(result, `bpf program ${id}`);
}

/**
 * Attaches a program to a cgroup v2 folder, beside what child cgroups attach (BPF_F_ALLOW_MULTI).
 *
 * @param replaced the program on this cgroup whose place it takes, in one step
 * @throws SystemError
 */
export function attachDeviceProgram(cgroup: number, program: number, replaced?: number): void {
  using memory = Mapping.anonymous(ATTRIBUTES, 'bpf attributes');
  const view = new DataView(memory.view());
  view.setUint32(0, cgroup, true);
  view.setUint32(4, program, true);
  view.setUint32(8, BPF_CGROUP_DEVICE, true);
  view.setUint32(12, BPF_F_ALLOW_MULTI | (replaced === undefined ? 0 : BPF_F_REPLACE), true);
  view.setUint32(16, replaced ?? 0, true);
  const result = bpf(BPF_PROG_ATTACH, memory);
  if (result < 0) fail('bpf(BPF_PROG_ATTACH)', 'device program', result);
}

/** Takes a program off a cgroup. @throws SystemError */
export function detachDeviceProgram(cgroup: number, program: number): void {
  using memory = Mapping.anonymous(ATTRIBUTES, 'bpf attributes');
  const view = new DataView(memory.view());
  view.setUint32(0, cgroup, true);
  view.setUint32(4, program, true);
  view.setUint32(8, BPF_CGROUP_DEVICE, true);
  const result = bpf(BPF_PROG_DETACH, memory);
  if (result < 0) fail('bpf(BPF_PROG_DETACH)', 'device program', result);
}
