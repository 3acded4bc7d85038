/**
 * A guest of five instructions, and what KVM reports of it. Real mode, one page of memory, no devices: every exit lands here.
 *
 *     npm run build && node dist/examples/first-exit.js
 */
import { decodeExit, RunView } from 'tvmm';
import { Kvm, KvmSegment } from 'tvmm/kvm';
import { GuestMemory } from 'tvmm/memory';

const code = Uint8Array.of(
  ...[0xb0, 0x2a], //       mov al, 42
  ...[0xe6, 0x10], //       out 0x10, al
  ...[0xe4, 0x11], //       in al, 0x11
  ...[0xa2, 0x00, 0x20], // mov [0x2000], al    behind the end of memory: MMIO
  ...[0xf4], //             hlt
);

using kvm = Kvm.open();
using vm = kvm.createVm();
using memory = GuestMemory.create([{ gpa: 0, size: 4096 }]);
memory.write(0x100, code);
memory.registerWith(vm);

using vcpu = vm.createVcpu(0, kvm.vcpuMmapSize());
const sregs = vcpu.getSregs();
sregs.nested('cs', KvmSegment).set64('base', 0).set('selector', 0);
vcpu.setSregs(sregs);
vcpu.setRegs(vcpu.getRegs().set64('rip', 0x100).set64('rflags', 2));

const view = new RunView(vcpu.run);
let exit: ReturnType<typeof decodeExit>;
do {
  vcpu.enter();
  exit = decodeExit(view);
  console.log(exit);
  // An IN waits for its answer: KVM hands it to the guest at the next entry.
  if (exit.reason === 'io' && exit.direction === 'in') view.u8[view.ioDataOffset] = 7;
} while (exit.reason === 'io' || exit.reason === 'mmio');
