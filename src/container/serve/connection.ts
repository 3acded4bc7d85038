/**
 * One client's connection, never blocking: what it sends is collected up to a limit, what it is sent waits until it reads. Descriptors go
 * with the first byte of their message.
 */
import { SystemError } from '../../sys/errors.js';
import type { FileDescriptor } from '../../sys/fd.js';
import { Readiness } from '../../sys/readiness.js';
import { receiveNow } from '../../sys/socketpair.js';
import { sendDescriptorsNow, sendNow } from '../../sys/unix-listener.js';

const PIECE = 65536;

export interface ConnectionListener {
  /** Bytes have come. */
  data(bytes: Uint8Array): void;
  /** The other end has left, or the connection broke; comes at most once, and not after disposal. */
  closed(): void;
}

export class Connection implements Disposable {
  readonly #socket: FileDescriptor;
  #readiness: Readiness | undefined;
  #waiting: Uint8Array[] = [];
  #drains: (() => void)[] = [];
  #ending = false;
  #closed = false;

  constructor(
    socket: FileDescriptor,
    readonly listener: ConnectionListener,
  ) {
    this.#socket = socket;
  }

  /** Begins to listen. What has come by now is told before this returns; to be watched can wait until that is done. */
  open(): void {
    this.#ready();
    if (!this.#closed) setImmediate(() => this.#watch());
  }

  #watch(): void {
    if (this.#closed) return;
    this.#readiness = new Readiness(this.#socket.fd, () => this.#ready());
    this.#readiness.writable = this.#waiting.length > 0;
  }

  get fd(): number {
    return this.#socket.fd;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes that wait for the other end. */
  get pending(): number {
    return this.#waiting.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  /** Resolves when nothing waits, or nobody will read it. */
  drained(): Promise<void> {
    if (this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#drains.push(resolve));
  }

  /** Sends in the order of the calls. To a client that has left it does nothing. */
  send(bytes: Uint8Array): void {
    if (this.#closed) return;
    this.#waiting.push(bytes);
    this.#flush();
  }

  /** @returns false when they cannot be sent: the client has left, or does not read */
  sendDescriptors(descriptors: readonly number[], payload: Uint8Array): boolean {
    if (this.#closed || this.#waiting.length > 0) return false;
    try {
      return sendDescriptorsNow(this.fd, descriptors, payload);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#break();
      return false;
    }
  }

  /** Closes when all is sent. */
  end(): void {
    this.#ending = true;
    this.#flush();
  }

  #ready(): void {
    this.#flush();
    if (this.#closed) return;
    let bytes: Uint8Array | undefined;
    try {
      bytes = receiveNow(this.fd, PIECE);
    } catch {
      this.#break();
      return;
    }
    if (bytes === undefined) return;
    if (bytes.length === 0) this.#break();
    else this.listener.data(bytes);
  }

  #flush(): void {
    if (this.#closed) return;
    try {
      for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
        const sent = sendNow(this.fd, first);
        if (sent < first.length) {
          this.#waiting[0] = first.subarray(sent);
          if (this.#readiness !== undefined) this.#readiness.writable = true;
          return;
        }
        this.#waiting.shift();
      }
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#break();
      return;
    }
    if (this.#readiness !== undefined) this.#readiness.writable = false;
    this.#tellDrained();
    if (this.#ending) this[Symbol.dispose]();
  }

  #tellDrained(): void {
    for (const tell of this.#drains.splice(0)) tell();
  }

  #break(): void {
    if (this.#closed) return;
    this[Symbol.dispose]();
    this.listener.closed();
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiting = [];
    this.#tellDrained();
    this.#readiness?.[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
  }
}
