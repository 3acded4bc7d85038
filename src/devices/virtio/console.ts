/**
 * virtio-console, the model (Virtual I/O Device 1.2, section 5.3): MULTIPORT and SIZE. Bytes move in {@link ConsolePlane}.
 *
 * The size of the terminal lives in shared memory: any thread may change it. Emergency write is not offered: the serial port does that.
 */
import { signalEventfd } from '../../sys/eventfd.js';
import type { AccessSize } from '../device.js';
import { ConsolePlane, type TerminalSize } from './console-plane.js';
import type { ConsolePortConfig } from './console-port.js';
import { CONSOLE_CONFIG, VIRTIO_CONSOLE_F } from './console-protocol.js';
import { VIRTIO_ID } from './constants.js';
import type { DataPlane, DataPlaneHost } from './data-plane.js';
import { type VirtioContext, VirtioDevice } from './device.js';

export type { TerminalSize } from './console-plane.js';
export type { ConsolePortConfig } from './console-port.js';

/** Plain data, the same on every thread. */
export interface ConsoleConfig {
  /** Port 0 is the one that a driver without MULTIPORT sees. At least one. */
  readonly ports: readonly ConsolePortConfig[];
  /** For messages; `console` unless given. */
  readonly id?: string;
}

const QUEUE_SIZE = 64;
/** The model's words. */
const COLS = 0;
const ROWS = 1;

export class VirtioConsole extends VirtioDevice {
  readonly #ports: readonly ConsolePortConfig[];
  readonly #resized: number;

  constructor(context: VirtioContext, config: ConsoleConfig) {
    const { ports, id = 'console' } = config;
    if (ports.length === 0) throw new RangeError('a console needs at least one port');
    super(context, {
      name: `${id} (virtio-console)`,
      deviceId: VIRTIO_ID.CONSOLE,
      queueSizes: Array(2 * ports.length + 2).fill(QUEUE_SIZE),
      features: (1 << VIRTIO_CONSOLE_F.SIZE) | (1 << VIRTIO_CONSOLE_F.MULTIPORT),
      words: 2,
    });
    this.#ports = ports;
    this.#resized = context.eventfds.next(`${id} resize`);
  }

  /** What the guest's terminal is told; 0 by 0 until {@link resize}. */
  get size(): TerminalSize {
    return { cols: this.model[COLS], rows: this.model[ROWS] };
  }

  /** Any thread: tells the guest of a new terminal size. */
  resize(cols: number, rows: number): void {
    this.updateConfig(() => {
      this.model[COLS] = cols & 0xffff;
      this.model[ROWS] = rows & 0xffff;
    });
    signalEventfd(this.#resized);
  }

  override readConfig(offset: number, size: AccessSize): number {
    const bytes = new DataView(new ArrayBuffer(CONSOLE_CONFIG.size));
    bytes.setUint16(CONSOLE_CONFIG.cols, this.model[COLS], true);
    bytes.setUint16(CONSOLE_CONFIG.rows, this.model[ROWS], true);
    bytes.setUint32(CONSOLE_CONFIG.max_nr_ports, this.#ports.length, true);
    if (offset + size > CONSOLE_CONFIG.size) return 0;
    if (size === 4) return bytes.getUint32(offset, true);
    return size === 2 ? bytes.getUint16(offset, true) : bytes.getUint8(offset);
  }

  createDataPlane(host: DataPlaneHost): DataPlane {
    return new ConsolePlane(host, {
      ports: this.#ports,
      resized: this.#resized,
      size: () => this.size,
    });
  }
}
