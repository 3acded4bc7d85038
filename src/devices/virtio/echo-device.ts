/**
 * Test support: a virtio device that copies what it reads into what it may write. It can hold chains back, as a slow disk does, so that tests
 * can reset, pause and fail it while requests are in flight.
 */
import { EPOLLIN } from '../../sys/epoll.js';
import type { AccessSize } from '../device.js';
import type { DataPlane, DataPlaneHost } from './data-plane.js';
import { type VirtioContext, VirtioDevice } from './device.js';
import { DescriptorChain, serveQueue } from './queue.js';

const DEVICE_ID = 63;

export class EchoDevice extends VirtioDevice {
  /** Chains stay in flight until {@link release}. */
  holding = false;
  /** What process throws, once. */
  bug: Error | undefined;
  /** Chains served by each queue. */
  readonly served: number[];
  readonly events: string[] = [];
  /** Called in the middle of serving, as another processor could interfere. */
  meanwhile: (() => void) | undefined;
  #release: (() => void) | undefined;
  #host: DataPlaneHost | undefined;

  constructor(context: VirtioContext, name = 'echo', queueSizes: readonly number[] = [16, 16]) {
    super(context, { name, deviceId: DEVICE_ID, queueSizes, words: 2 });
    this.served = queueSizes.map(() => 0);
  }

  override readConfig(offset: number, size: AccessSize): number {
    if (offset + size > 8) return 0;
    const bytes = new Uint8Array(this.model.buffer, this.model.byteOffset, 8);
    let value = 0;
    for (let i = 0; i < size; i++) value += bytes[offset + i] * 2 ** (8 * i);
    return value;
  }

  override writeConfig(offset: number, size: AccessSize, value: number): void {
    if (offset === 0 && size === 4) this.model[0] = value;
  }

  /** Watches a descriptor on the I/O loop. */
  watch(fd: number, handler: () => void): void {
    this.#host?.epoll.add(fd, EPOLLIN, handler);
  }

  /** Finishes what is held. */
  release(): void {
    this.holding = false;
    this.#release?.();
  }

  createDataPlane(host: DataPlaneHost): DataPlane {
    this.#host = host;
    const chain = new DescriptorChain();
    let held: { index: number; head: number }[] = [];
    let whenIdle: (() => void)[] = [];
    this.#release = () => {
      for (const { index, head } of held) {
        host.queue(index)?.push(head, 0);
        host.signalUsed(index);
      }
      held = [];
      for (const done of whenIdle.splice(0)) done();
    };
    const idle = (done: () => void) => {
      if (held.length === 0) done();
      else whenIdle.push(done);
    };
    return {
      activate: () => this.events.push('activate'),
      process: (index) => {
        const { bug } = this;
        this.bug = undefined;
        if (bug !== undefined) throw bug;
        serveQueue(host, index, chain, (queue) => {
          this.served[index]++;
          this.meanwhile?.();
          if (this.holding) held.push({ index, head: chain.head });
          else queue.push(chain.head, copy(host, chain));
          return true;
        });
      },
      reset: (done) => {
        this.events.push('reset');
        idle(done);
      },
      quiesce: idle,
      [Symbol.dispose]: () => {
        whenIdle = [];
        this.events.push('dispose');
      },
    };
  }
}

/** Readable bytes into writable ones, in order. */
function copy(host: DataPlaneHost, chain: DescriptorChain): number {
  const part = (i: number) => host.ram.bytes(chain.addresses[i], chain.lengths[i]);
  const source = Buffer.concat(Array.from({ length: chain.readable }, (_, i) => part(i)));
  let done = 0;
  for (let i = chain.readable; i < chain.count && done < source.length; i++) {
    const target = part(i);
    target.set(source.subarray(done, done + target.length));
    done += Math.min(target.length, source.length - done);
  }
  return done;
}
