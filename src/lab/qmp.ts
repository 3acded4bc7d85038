/**
 * A client for QEMU's monitor protocol (QMP), as much of it as templates need: commands one after another, events ignored.
 */
import type { Socket } from 'node:net';
import { LabStartError } from './errors.js';

/** A reply line longer than this is refused. */
const MAX_LINE = 1024 * 1024;

/** The monitor of a QEMU. Commands must not overlap. */
export class Monitor {
  readonly #socket: Socket;
  #rest = '';
  #take: (message: Record<string, unknown>) => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text) => this.#read(`${text}`));
  }

  /** Greets QEMU on its monitor's socket. */
  static async open(socket: Socket): Promise<Monitor> {
    const monitor = new Monitor(socket);
    await monitor.execute('qmp_capabilities');
    return monitor;
  }

  /** Executes a command and gives what it returns. Throws {@link LabStartError} with QEMU's own reason. */
  execute(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const refuse = (why: string) =>
        reject(new LabStartError(`QEMU refuses ${command}: ${why}`, { code: 'LAB_MONITOR' }));
      const closed = () => refuse('it has ended');
      this.#socket.once('close', closed);
      this.#take = (message) => {
        // Everything else is the greeting or an event.
        if (!('return' in message) && !('error' in message)) return;
        this.#socket.off('close', closed);
        this.#take = () => {};
        if ('return' in message) resolve(message.return);
        else refuse(JSON.stringify(message.error));
      };
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
  }

  /** The `status` of query-migrate, e.g. `active`, `completed`, `failed`. */
  async migrationStatus(): Promise<string> {
    const answer = await this.execute('query-migrate');
    return typeof answer === 'object' && answer !== null && 'status' in answer ? `${answer.status}` : 'none';
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = (lines.pop() ?? '').slice(-MAX_LINE);
    for (const line of lines) {
      if (line.trim() === '') continue;
      const message: unknown = JSON.parse(line);
      if (typeof message === 'object' && message !== null) this.#take({ ...message });
    }
  }
}
