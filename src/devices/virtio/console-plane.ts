/**
 * virtio-console's data plane (Virtual I/O Device 1.2, section 5.3.6): the control protocol, and a {@link ConsolePort} for each port. Ports
 * are announced once the driver is ready, get input only while the guest holds them open, and are closed when the host's input ends.
 */
import { EPOLLIN } from '../../sys/epoll.js';
import { drainEventfd } from '../../sys/eventfd.js';
import { ConsolePort, type ConsolePortConfig } from './console-port.js';
import {
  CONTROL_RECEIVEQ,
  CONTROL_SIZE,
  CONTROL_TRANSMITQ,
  controlMessage,
  portOfQueue,
  receiveQueue,
  resizePayload,
  VIRTIO_CONSOLE,
  VIRTIO_CONSOLE_F,
} from './console-protocol.js';
import type { DataPlane, DataPlaneHost } from './data-plane.js';
import { DescriptorChain, serveQueue, type Virtqueue } from './queue.js';

/** A terminal's size in characters; 0 by 0 while it is not known. */
export interface TerminalSize {
  readonly cols: number;
  readonly rows: number;
}

/** What the plane shares with its model. */
export interface ConsolePlaneOptions {
  readonly ports: readonly ConsolePortConfig[];
  /** Signalled when the size has changed. */
  readonly resized: number;
  readonly size: () => TerminalSize;
}

/** Messages that may wait for the driver's buffers; a driver that asks without ever listening is broken. */
const MAX_WAITING = 1024;

export class ConsolePlane implements DataPlane {
  readonly #host: DataPlaneHost;
  readonly #options: ConsolePlaneOptions;
  readonly #ports: ConsolePort[] = [];
  readonly #ready: boolean[];
  readonly #chain = new DescriptorChain();
  #waiting: Uint8Array[] = [];
  #multiport = false;
  #hasSize = false;

  constructor(host: DataPlaneHost, options: ConsolePlaneOptions) {
    this.#host = host;
    this.#options = options;
    this.#ready = options.ports.map(() => false);
    try {
      options.ports.forEach((config, index) => {
        this.#ports.push(new ConsolePort(host, index, config, () => this.#inputEnded(index)));
      });
    } catch (error) {
      for (const port of this.#ports) port[Symbol.dispose]();
      throw error;
    }
    host.epoll.add(options.resized, EPOLLIN, () => {
      drainEventfd(options.resized);
      this.#announceSize();
    });
  }

  activate(featuresLow: number): void {
    this.#multiport = (featuresLow & (1 << VIRTIO_CONSOLE_F.MULTIPORT)) !== 0;
    this.#hasSize = (featuresLow & (1 << VIRTIO_CONSOLE_F.SIZE)) !== 0;
    // Without MULTIPORT there is one port, and nobody to say that it is open.
    if (!this.#multiport) this.#ports[0].open = true;
  }

  process(queueIndex: number): void {
    const index = portOfQueue(queueIndex);
    if (index === undefined) {
      if (queueIndex === CONTROL_TRANSMITQ) this.#serveControl();
      this.#deliver();
      return;
    }
    if (index > 0 && !this.#multiport) return;
    if (queueIndex === receiveQueue(index)) this.#ports[index].receive();
    else this.#ports[index].transmit();
  }

  #serveControl(): void {
    serveQueue(this.#host, CONTROL_TRANSMITQ, this.#chain, (queue, chain) => {
      this.#control(chain);
      queue.push(chain.head, 0);
      return true;
    });
  }

  /** The driver's message. What makes no sense is ignored. */
  #control(chain: DescriptorChain): void {
    if (chain.readableBytes < CONTROL_SIZE) return;
    const bytes = new Uint8Array(CONTROL_SIZE);
    for (let i = 0, at = 0; at < CONTROL_SIZE; i++) {
      const take = Math.min(chain.lengths[i], CONTROL_SIZE - at);
      bytes.set(this.#host.ram.bytes(chain.addresses[i], take), at);
      at += take;
    }
    const view = new DataView(bytes.buffer);
    const value = view.getUint16(6, true);
    const event = view.getUint16(4, true);
    if (event === VIRTIO_CONSOLE.DEVICE_READY) {
      if (value === 1) this.#ports.forEach((_, id) => void this.#send(id, VIRTIO_CONSOLE.PORT_ADD, 1));
      return;
    }
    const id = view.getUint32(0, true);
    if (id >= this.#ports.length) return;
    if (event === VIRTIO_CONSOLE.PORT_READY) this.#portReady(id, value === 1);
    else if (event === VIRTIO_CONSOLE.PORT_OPEN) this.#ports[id].open = value === 1;
  }

  /** The driver has set a port up (1), or failed to (0): section 5.3.6.1 lists what it is told then. */
  #portReady(id: number, ready: boolean): void {
    this.#ready[id] = ready;
    if (!ready) return;
    const port = this.#ports[id];
    this.#send(id, VIRTIO_CONSOLE.PORT_NAME, 1, new TextEncoder().encode(port.config.name));
    if (port.config.console === true) {
      this.#send(id, VIRTIO_CONSOLE.CONSOLE_PORT, 1);
      this.#sendSize(id);
    }
    if (port.connected) this.#send(id, VIRTIO_CONSOLE.PORT_OPEN, 1);
  }

  #announceSize(): void {
    this.#ports.forEach((port, id) => {
      if (port.config.console === true && this.#ready[id]) this.#sendSize(id);
    });
    this.#deliver();
  }

  #sendSize(id: number): void {
    const { cols, rows } = this.#options.size();
    if (this.#hasSize && cols > 0 && rows > 0) {
      this.#send(id, VIRTIO_CONSOLE.RESIZE, 1, resizePayload(cols, rows));
    }
  }

  #inputEnded(id: number): void {
    if (this.#ports[id].connected || !this.#multiport) return;
    this.#send(id, VIRTIO_CONSOLE.PORT_OPEN, 0);
    this.#deliver();
  }

  #send(id: number, event: number, value: number, payload?: Uint8Array): void {
    if (!this.#multiport) return;
    if (this.#waiting.length >= MAX_WAITING) {
      this.#host.fail('the driver never takes its control messages');
      return;
    }
    this.#waiting.push(controlMessage(id, event, value, payload));
  }

  /** Puts waiting messages into the driver's control buffers, as far as there are any. */
  #deliver(): void {
    const queue = this.#host.queue(CONTROL_RECEIVEQ);
    if (queue === undefined || this.#waiting.length === 0) return;
    let sent = 0;
    while (sent < this.#waiting.length) {
      if (!queue.pop(this.#chain)) {
        if (queue.enableNotifications()) continue;
        break;
      }
      if (!this.#put(queue, this.#waiting[sent])) return;
      sent++;
    }
    this.#waiting = this.#waiting.slice(sent);
    this.#host.signalUsed(CONTROL_RECEIVEQ);
  }

  #put(queue: Virtqueue, message: Uint8Array): boolean {
    const chain = this.#chain;
    if (chain.writableBytes < message.length) {
      this.#host.fail(`a control buffer of ${chain.writableBytes} bytes is too small`);
      return false;
    }
    for (let i = chain.readable, at = 0; at < message.length; i++) {
      const take = Math.min(chain.lengths[i], message.length - at);
      this.#host.ram.write(chain.addresses[i], message.subarray(at, at + take));
      at += take;
    }
    queue.push(chain.head, message.length);
    return true;
  }

  reset(done: () => void): void {
    this.#waiting = [];
    this.#ready.fill(false);
    for (const port of this.#ports) port.reset();
    done();
  }

  [Symbol.dispose](): void {
    this.#host.epoll.remove(this.#options.resized);
    for (const port of this.#ports) port[Symbol.dispose]();
  }
}
