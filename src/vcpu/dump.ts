/** A vCPU's registers for error messages: plain data, hexadecimal strings, so that it crosses threads and prints as it is. */
import { StructView } from '../kvm/layout.js';
import { KvmRegs, KvmSegment } from '../kvm/structs.js';
import type { Vcpu } from '../kvm/vcpu.js';

/** Register names to hexadecimal values. */
export type VcpuDump = Record<string, string>;

const CONTROL = ['cr0', 'cr2', 'cr3', 'cr4', 'efer'] as const;

/** General, control and code-segment registers; empty when KVM does not give them. */
export function dumpVcpu(vcpu: Vcpu): VcpuDump {
  try {
    const regs = vcpu.getRegs();
    const sregs = vcpu.getSregs();
    const dump: VcpuDump = {};
    for (const name of Object.keys(KvmRegs.fields) as (keyof typeof KvmRegs.fields)[])
      dump[name] = hex(regs.get64(name));
    for (const name of CONTROL) dump[name] = hex(sregs.get64(name));
    const cs = new StructView(KvmSegment, sregs.bytes.buffer, sregs.byteOffset + sregs.type.offsets.cs);
    dump.cs = `${hex(BigInt(cs.get('selector')))} base ${hex(cs.get64('base'))}`;
    return dump;
  } catch {
    return {};
  }
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** One line: `rip=0x… rsp=0x… …`. */
export function formatDump(dump: VcpuDump): string {
  return Object.entries(dump)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}
