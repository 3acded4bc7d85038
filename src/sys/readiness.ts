/**
 * Tells the event loop's code when a descriptor can be read or written (uv_poll of libuv, level-triggered). One watch a descriptor. A watch
 * keeps the process alive until it is disposed of, which must come before the descriptor is closed.
 */
import koffi from 'koffi';

export class Readiness implements Disposable {
  readonly #handle: ReturnType<typeof koffi.node.poll>;
  #writable = false;
  #closed = false;
  #scheduled = false;

  /**
   * @param fd a socket, pipe or other file that can be polled
   * @param ready called in a turn of its own; looks for itself what can be done
   */
  constructor(
    fd: number,
    readonly ready: () => void,
  ) {
    this.#handle = koffi.node.poll(fd, { readable: true }, this.#polled);
  }

  /** Whether to hear of room for writing, too. */
  set writable(wanted: boolean) {
    if (this.#closed || wanted === this.#writable) return;
    this.#writable = wanted;
    this.#handle.start({ readable: true, writable: wanted }, this.#polled);
  }

  /** koffi calls outside of Node's own scopes, where no promise would go on: the next phase of the loop is soon enough. */
  readonly #polled = () => {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#closed) this.ready();
    });
  };

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handle.close();
  }
}
