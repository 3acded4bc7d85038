/**
 * One port of a virtio-console on the I/O thread: moves bytes between its two queues and the host's streams, straight from and into guest
 * memory. A full pipe holds back only this port's chains; without receive buffers nothing is read from the host.
 */
import { EPOLLIN, EPOLLOUT } from '../../sys/epoll.js';
import { receiveQueue, transmitQueue } from './console-protocol.js';
import type { DataPlaneHost } from './data-plane.js';
import { BROKEN, HostStream, WOULD_BLOCK } from './host-stream.js';
import { DescriptorChain, serveQueue, type Virtqueue } from './queue.js';

/** Where a port's bytes come from and go to; plain data. Descriptors stay the caller's. */
export interface ConsolePortConfig {
  /** Under which the guest finds it in /sys/class/virtio-ports and /dev/virtio-ports: `tvmm.stdout`. */
  readonly name: string;
  /** The guest makes it an hvc terminal. */
  readonly console?: boolean;
  /** Where the guest's output goes; -1 discards it. */
  readonly outputFd: number;
  /** What the guest reads; -1 is nothing. */
  readonly inputFd: number;
}

/** Reads of one turn. */
const READS = 16;
const MAX_READ = 64 * 1024;

export class ConsolePort implements Disposable {
  readonly #host: DataPlaneHost;
  readonly #receive: number;
  readonly #transmit: number;
  readonly #output: HostStream | undefined;
  readonly #input: HostStream | undefined;
  readonly #onEnd: () => void;
  readonly #chain = new DescriptorChain();
  /** Bytes of the first available transmit chain that the stream has taken. */
  #progress = 0;
  #outputArmed = false;
  #inputArmed = false;
  #outputBroken = false;
  #ended = false;
  /** The driver takes input. */
  #open = false;
  readonly #serve = (queue: Virtqueue, chain: DescriptorChain) => this.#transmitChain(queue, chain);

  /** @param onEnd told once that the input has ended */
  constructor(
    host: DataPlaneHost,
    readonly index: number,
    readonly config: ConsolePortConfig,
    onEnd: () => void,
  ) {
    this.#host = host;
    this.#receive = receiveQueue(index);
    this.#transmit = transmitQueue(index);
    this.#onEnd = onEnd;
    const { name, inputFd, outputFd } = config;
    this.#output = outputFd < 0 ? undefined : HostStream.of(outputFd, 'write', `output of ${name}`);
    this.#input = inputFd < 0 ? undefined : HostStream.of(inputFd, 'read', `input of ${name}`);
  }

  /** Whether somebody is at the host's end. */
  get connected(): boolean {
    const { console, inputFd, outputFd } = this.config;
    if (console === true) return true;
    // An input that has ended closes a port that only reads, and a connection of both directions; not a separate output.
    if (this.#ended && (outputFd < 0 || outputFd === inputFd)) return false;
    return this.#input !== undefined || this.#output !== undefined;
  }

  set open(open: boolean) {
    this.#open = open;
    this.receive();
  }

  /** Serves the transmit queue. */
  transmit(): void {
    serveQueue(this.#host, this.#transmit, this.#chain, this.#serve);
  }

  #transmitChain(queue: Virtqueue, chain: DescriptorChain): boolean {
    const { ram } = this.#host;
    const output = this.#outputBroken ? undefined : this.#output;
    let before = this.#progress;
    for (let i = 0; output !== undefined && i < chain.readable; i++) {
      const length = chain.lengths[i];
      if (before >= length) {
        before -= length;
        continue;
      }
      while (before < length) {
        const rest = length - before;
        const written = output.write(ram.hostAddress(chain.addresses[i] + before, rest), rest);
        if (written === WOULD_BLOCK) {
          this.#armOutput(output);
          return false;
        }
        if (written === BROKEN) {
          // Nobody will read the rest: the guest must not wait for it.
          this.#outputBroken = true;
          i = chain.readable;
          break;
        }
        before += written;
        this.#progress += written;
      }
      before = 0;
    }
    this.#progress = 0;
    queue.push(chain.head, 0);
    return true;
  }

  #armOutput(output: HostStream): void {
    if (this.#outputArmed) return;
    this.#outputArmed = true;
    this.#host.epoll.add(output.fd, EPOLLOUT, () => {
      this.#disarmOutput();
      this.#host.again(this.#transmit);
    });
  }

  #disarmOutput(): void {
    if (!this.#outputArmed || this.#output === undefined) return;
    this.#outputArmed = false;
    this.#host.epoll.remove(this.#output.fd);
  }

  /** Fills receive buffers as far as there are any, and bytes for them. */
  receive(): void {
    const input = this.#input;
    const queue = this.#host.queue(this.#receive);
    if (input === undefined || queue === undefined || !this.#open || this.#ended) {
      this.#disarmInput();
      return;
    }
    for (let reads = 0; ; reads++) {
      if (!queue.pop(this.#chain)) {
        // The next buffer comes with a kick.
        if (queue.enableNotifications()) continue;
        this.#disarmInput();
        break;
      }
      if (reads >= READS) {
        queue.undoPop();
        this.#host.again(this.#receive);
        break;
      }
      if (!this.#receiveChain(queue, input)) break;
    }
    this.#host.signalUsed(this.#receive);
  }

  /** @returns false when there is nothing more for now */
  #receiveChain(queue: Virtqueue, input: HostStream): boolean {
    const chain = this.#chain;
    if (chain.writableBytes === 0) {
      this.#host.fail(`a receive buffer of ${this.config.name} is not writable`);
      return false;
    }
    const length = Math.min(chain.lengths[chain.readable], MAX_READ);
    const got = input.read(this.#host.ram.hostAddress(chain.addresses[chain.readable], length), length);
    if (got > 0) {
      queue.push(chain.head, got);
      return true;
    }
    queue.undoPop();
    if (got === WOULD_BLOCK) this.#armInput(input);
    else this.#end();
    return false;
  }

  #armInput(input: HostStream): void {
    if (this.#inputArmed) return;
    this.#inputArmed = true;
    this.#host.epoll.add(input.fd, EPOLLIN, () => this.receive());
  }

  #disarmInput(): void {
    if (!this.#inputArmed || this.#input === undefined) return;
    this.#inputArmed = false;
    this.#host.epoll.remove(this.#input.fd);
  }

  #end(): void {
    this.#ended = true;
    this.#disarmInput();
    this.#onEnd();
  }

  /** Forgets the driver; the streams stay. */
  reset(): void {
    this.#open = false;
    this.#progress = 0;
    this.#disarmInput();
    this.#disarmOutput();
  }

  [Symbol.dispose](): void {
    this.reset();
    this.#output?.[Symbol.dispose]();
    this.#input?.[Symbol.dispose]();
  }
}
