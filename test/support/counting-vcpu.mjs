/**
 * A vCPU thread with one device: a counter that expects the values 0, 1, 2, … in this order. `seen[0]` is the next expected value, `seen[1]`
 * how many others came. What it runs is the product's own loop.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Bus, currentThreadId, runVcpu, StateArena, VcpuControl } from 'tvmm';
import { Vcpu } from 'tvmm/kvm';

const { fd, mmapSize, controlBuffer, seen, port } = workerData;
const pio = new Bus('PIO');
pio.add(port, 4, {
  name: 'counter',
  state: new StateArena().claim('counter', 1),
  read: () => 0,
  write(_offset, _size, value) {
    if (value === seen[0]) Atomics.add(seen, 0, 1);
    else Atomics.add(seen, 1, 1);
  },
});
const control = new VcpuControl(controlBuffer, 0);
control.threadId = currentThreadId();
const vcpu = Vcpu.borrow(fd, 0, mmapSize);
const end = runVcpu(vcpu, { pio, mmio: new Bus('MMIO') }, control);
vcpu[Symbol.dispose]();
parentPort?.postMessage(end);
