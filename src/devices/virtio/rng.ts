/**
 * virtio-rng, the entropy device (Virtual I/O Device 1.2, section 5.4): fills the driver's buffers from the host's CSPRNG. At most
 * {@link MAX_BYTES} a request, so that a large buffer cannot hold the I/O thread.
 */
import { check, getrandom } from '../../sys/libc.js';
import { VIRTIO_ID } from './constants.js';
import type { DataPlane, DataPlaneHost } from './data-plane.js';
import { type VirtioContext, VirtioDevice } from './device.js';
import { DescriptorChain, serveQueue, type Virtqueue } from './queue.js';

const QUEUE_SIZE = 64;
/** A driver asks for some dozens of bytes; it may be given fewer than it has room for. */
const MAX_BYTES = 4096;

export class VirtioRng extends VirtioDevice {
  constructor(context: VirtioContext, name = 'rng') {
    super(context, { name, deviceId: VIRTIO_ID.RNG, queueSizes: [QUEUE_SIZE] });
  }

  createDataPlane(host: DataPlaneHost): DataPlane {
    const chain = new DescriptorChain();
    const serve = (queue: Virtqueue) => {
      queue.push(chain.head, fill(host, chain));
      return true;
    };
    return {
      process: (index) => serveQueue(host, index, chain, serve),
      reset: (done) => done(),
      [Symbol.dispose]() {},
    };
  }
}

/** Fills the writable buffers; returns how many bytes. Device-readable buffers, which a driver should not give, are skipped. */
function fill(host: DataPlaneHost, chain: DescriptorChain): number {
  let written = 0;
  for (let i = chain.readable; i < chain.count && written < MAX_BYTES; i++) {
    const length = Math.min(chain.lengths[i], MAX_BYTES - written);
    const got = check(getrandom(host.ram.bytes(chain.addresses[i], length), length, 0), 'getrandom');
    written += got;
    // Cut short by a signal: what is there is enough, the driver asks again.
    if (got < length) break;
  }
  return written;
}
