/**
 * The host's side of the control port: what the agent says, line by line, and what it is told. Everything that waits on L1
 * waits through here, so that the end of L1 ends every wait.
 */
import type { Socket } from 'node:net';
import { SAYS, TOLD } from './layout.js';
import type { QemuProcess } from './qemu-process.js';

/** A line longer than this is no line of the agent's. */
const MAX_LINE = 4096;

/** The agent of a running L1. */
export class AgentControl {
  readonly #qemu: QemuProcess;
  readonly #socket: Socket;
  readonly #jobs = new Map<number, (status: number) => void>();
  readonly #heard = new Set<string>();
  readonly #waiting = new Map<string, () => void>();
  #rest = '';

  constructor(qemu: QemuProcess) {
    this.#qemu = qemu;
    this.#socket = qemu.port('control');
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (chunk) => this.#take(`${chunk}`));
  }

  /** Waits until the agent has said `word` (`parked` or `up`), at most `timeoutMs`. */
  async heard(word: string, timeoutMs: number): Promise<void> {
    if (this.#heard.has(word)) return;
    await this.#orDeath(
      new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          this.#waiting.delete(word);
          const what = `the lab's machine did not come up within ${Math.round(timeoutMs / 1000)} seconds`;
          reject(this.#qemu.death(what, 'LAB_SILENT'));
        }, timeoutMs);
        this.#waiting.set(word, () => {
          clearTimeout(timer);
          resolve();
        });
        this.#qemu.ended.then(() => clearTimeout(timer));
      }),
      "the lab's machine ended while it was starting",
    );
  }

  /** Lets a parked L1 go on, with the time of day. */
  go(): void {
    this.#tell(TOLD.go, Math.floor(Date.now() / 1000));
  }

  /** Runs a job whose files are on the exchange share; resolves to its status (128 + n for signal n). */
  run(job: number): Promise<number> {
    return this.#job(job, () => this.#tell(TOLD.run, job));
  }

  /** Kills a job's process group. */
  kill(job: number): void {
    this.#tell(TOLD.kill, job);
  }

  /** Runs the script of job `job` on the stream ports, or on the terminal of that size; `mark` will end its output. */
  stream(job: number, mode: 'pipe' | 'tty', mark: string, size = { rows: 24, columns: 80 }): Promise<number> {
    return this.#job(job, () => this.#tell(TOLD.stream, mode, mark, size.rows, size.columns));
  }

  /** Sets the terminal's size; L1's kernel sends SIGWINCH. */
  size(rows: number, columns: number): void {
    this.#tell(TOLD.size, rows, columns);
  }

  async #job(job: number, submit: () => void): Promise<number> {
    try {
      return await this.#orDeath(
        new Promise<number>((resolve) => {
          this.#jobs.set(job, resolve);
          submit();
        }),
        "the lab's machine ended while a command was running in it",
      );
    } finally {
      this.#jobs.delete(job);
    }
  }

  async #orDeath<T>(wanted: Promise<T>, what: string): Promise<T> {
    const died = this.#qemu.ended.then((): never => {
      throw this.#qemu.death(what);
    });
    return await Promise.race([wanted, died]);
  }

  #tell(...words: (string | number)[]): void {
    if (!this.#qemu.gone) this.#socket.write(`${words.join(' ')}\n`);
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = (lines.pop() ?? '').slice(-MAX_LINE);
    for (const line of lines) this.#line(line.trim());
  }

  #line(line: string): void {
    const [word = '', job, status] = line.split(' ');
    if (word === SAYS.done) this.#jobs.get(Number(job))?.(Number(status));
    else {
      this.#heard.add(word);
      this.#waiting.get(word)?.();
      this.#waiting.delete(word);
    }
  }
}
