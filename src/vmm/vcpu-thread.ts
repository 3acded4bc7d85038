/**
 * A vCPU's thread: builds its view of the machine, then blocks in KVM_RUN until the vCPU ends. Its event loop does not turn meanwhile:
 * the control thread reaches it through the control block and SIGUSR2 alone.
 */
import { parentPort } from 'node:worker_threads';
import { Vcpu } from '../kvm/vcpu.js';
import { setThreadAffinity } from '../sys/affinity.js';
import { currentThreadId } from '../sys/signal.js';
import { State, VcpuControl } from '../vcpu/control.js';
import { runVcpu, type VcpuEnd } from '../vcpu/run-loop.js';
import { attachDevices } from './devices.js';
import type { Quit, ThreadMessage, VcpuThreadStart } from './threads.js';

const port = parentPort;
if (port === null) throw new Error('vcpu-thread runs only as a thread of a machine');

function post(message: ThreadMessage): void {
  port?.postMessage(message);
}

port.once('message', (start: VcpuThreadStart | Quit) => {
  if ('quit' in start) return;
  const control = new VcpuControl(start.control, start.index);
  let end: VcpuEnd;
  try {
    control.threadId = currentThreadId();
    if (start.affinity.length > 0) setThreadAffinity(start.affinity);
    const { buses } = attachDevices(start, (request) => post({ type: 'request', request }));
    using vcpu = Vcpu.borrow(start.fd, start.apicId, start.mmapSize);
    end = runVcpu(vcpu, buses, control);
  } catch (error) {
    end = {
      kind: 'crashed',
      message: error instanceof Error ? (error.stack ?? error.message) : String(error),
    };
  }
  post({ type: 'ended', index: start.index, end });
  control.setState(State.Stopped);
});
