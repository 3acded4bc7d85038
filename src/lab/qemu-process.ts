/**
 * A running QEMU that cannot outlive us: the kernel kills it with the thread that started it (PR_SET_PDEATHSIG), and so do
 * disposal and the end of this process. Its ports are socket pairs, the console is kept in a short ring.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { consoleTail, LabDiedError, LabStartError } from './errors.js';
import { PORT_FD, type PortName } from './machine.js';

/** How much of L1's console and of QEMU's own messages is kept, in characters. */
const KEPT = 16 * 1024;

const running = new Set<QemuProcess>();
process.on('exit', () => {
  for (const qemu of running) qemu.kill();
});

/** One QEMU. `ended` resolves when it is gone, whatever ended it. */
export class QemuProcess implements AsyncDisposable {
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  readonly #ports = new Map<PortName, Socket>();
  #console = '';
  #messages = '';
  #failure: Error | undefined;
  #gone = false;

  /** Starts QEMU with the ports `ports` on socket pairs; see `qemuArguments`, which must be given the same list. */
  constructor(qemu: string, args: readonly string[], ports: readonly PortName[]) {
    const last = Math.max(2, ...ports.map((name) => PORT_FD[name]));
    const stdio: ('ignore' | 'pipe')[] = ['ignore', 'pipe', 'pipe'];
    for (let fd = stdio.length; fd <= last; fd++)
      stdio.push(ports.some((name) => PORT_FD[name] === fd) ? 'pipe' : 'ignore');
    // setpriv is of util-linux, which every Linux has.
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', qemu, ...args], { stdio });
    const ends: readonly unknown[] = this.#child.stdio;
    for (const name of ports) {
      const end = ends[PORT_FD[name]];
      if (!(end instanceof Socket))
        throw new LabStartError(`the port ${name} of the lab has no socket`, { code: 'LAB_START' });
      // The end of QEMU is told by `ended`, not by each of its sockets.
      end.on('error', () => {});
      this.#ports.set(name, end);
    }
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#console = (this.#console + chunk.toString('latin1')).slice(-KEPT);
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#messages = (this.#messages + chunk.toString('utf8')).slice(-KEPT);
    });
    running.add(this);
    this.ended = new Promise((resolve) => {
      const end = (failure?: Error) => {
        this.#failure = failure;
        this.#gone = true;
        running.delete(this);
        for (const port of this.#ports.values()) port.destroy();
        resolve();
      };
      this.#child.once('error', end);
      this.#child.once('close', () => end());
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** Our end of a port. */
  port(name: PortName): Socket {
    const socket = this.#ports.get(name);
    if (socket === undefined)
      throw new LabStartError(`the lab was started without its port ${name}`, { code: 'LAB_START' });
    return socket;
  }

  /** Why this is no use any more: `what` as the sentence, with QEMU's messages and the end of L1's console. */
  death(what: string, code = 'LAB_DIED'): LabDiedError {
    const said = this.#failure?.message ?? this.#messages.trim();
    const qemu = said === '' ? '' : ` (QEMU: ${said.split('\n').slice(-5).join('; ')})`;
    return new LabDiedError(`${what}${qemu}${consoleTail(this.#console)}`, { code, cause: this.#failure });
  }

  /** Kills QEMU without waiting. L1 has nothing to save: its disks are overlays. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.ended;
  }
}
