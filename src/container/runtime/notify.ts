/**
 * A service's word that it is ready (sd_notify(3)), from inside a container: where the runtime is called with NOTIFY_SOCKET, the container
 * has a socket of its own at /run/notify, a folder that it may not write in. Whoever starts it waits for READY=1 there, tells the host's
 * socket so, and which process is the service's, as runc does. The container's other messages are not handed on.
 */
import { mkdirSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { TvmmError } from '../../sys/errors.js';
import type { FileDescriptor } from '../../sys/fd.js';
import { createPipe } from '../../sys/pipe.js';
import { Readiness } from '../../sys/readiness.js';
import { bindDatagram, connectDatagram } from '../../sys/unix-datagram.js';
import { sendDescriptor } from '../../sys/unix-socket.js';
import type { OciSpec } from '../spec/types.js';
import { errnoOf } from './errors.js';
import { isAlive, type ProcessName } from './process-info.js';
import type { ContainerFolder } from './store.js';

const INSIDE = '/run/notify';
const SOCKET = 'notify.sock';
const FOLDER = 'notify';
const LOOK_MS = 100;
/** What a manager may take to have read what it was told. */
const BARRIER_MS = 30_000;

/** The folder that the socket will be in, and the configuration with it. */
export function withNotifySocket(folder: ContainerFolder, spec: OciSpec): OciSpec {
  const { process, mounts = [] } = spec;
  if (process === undefined) return spec;
  const source = join(folder.path, FOLDER);
  const options = ['bind', 'nosuid', 'noexec', 'nodev', 'ro'];
  const others = (process.env ?? []).filter((variable) => !variable.startsWith('NOTIFY_SOCKET='));
  return {
    ...spec,
    process: { ...process, env: [...others, `NOTIFY_SOCKET=${INSIDE}/${SOCKET}`] },
    mounts: [...mounts, { destination: INSIDE, type: 'bind', source, options }],
  };
}

/** @throws Error of node:fs */
export function makeNotifyFolder(folder: ContainerFolder): void {
  // Recursive: it may be left of a create that was killed.
  mkdirSync(join(folder.path, FOLDER), { mode: 0o755, recursive: true });
}

/** The container's socket and the host's, from before the program starts until it is ready. */
export class NotifyProxy implements Disposable {
  readonly #own: FileDescriptor;
  readonly #host: FileDescriptor;
  readonly #path: string;
  #over = false;
  #telling: Promise<void> | undefined;

  /**
   * @param host the address that NOTIFY_SOCKET has
   * @returns undefined where there is nobody to tell, or the container was created without a socket: it starts all the same
   */
  static open(
    folder: ContainerFolder,
    host: string,
    warn: (message: string) => void,
  ): NotifyProxy | undefined {
    let manager: FileDescriptor | undefined;
    try {
      manager = connectDatagram(host);
      return new NotifyProxy(join(folder.path, FOLDER, SOCKET), manager);
    } catch (error) {
      manager?.[Symbol.dispose]();
      if (!(error instanceof TvmmError) && errnoOf(error) !== 'ENOENT') throw error;
      warn(`nobody will be told at NOTIFY_SOCKET ${host} that the container is ready: ${reason(error)}`);
      return undefined;
    }
  }

  private constructor(path: string, host: FileDescriptor) {
    // Of a start that was killed.
    rmSync(path, { force: true });
    this.#own = bindDatagram(path);
    this.#path = path;
    this.#host = host;
  }

  /** Waits until the container is ready or has ended, and until the manager has read it: who leaves at once is not known to it as the sender. */
  async tellOf(init: ProcessName | undefined): Promise<void> {
    if (init === undefined || !(await this.#heard(() => !isAlive(init)))) return;
    this.#tell(init.pid);
    await this.#barrier();
  }

  /** Tells when the container is ready, until {@link over}: the service is this process, which stays with the container. */
  tellOfThisProcess(warn: (message: string) => void): void {
    this.#telling = this.#heard(() => this.#over).then(
      (ready) => (ready ? this.#tell(process.pid) : undefined),
      (error) => warn(reason(error)),
    );
  }

  async over(): Promise<void> {
    this.#over = true;
    await this.#telling;
  }

  #tell(pid: number): void {
    for (const message of ['READY=1\n', `MAINPID=${pid}\n`]) writeSync(this.#host.fd, message);
  }

  async #heard(isOver: () => boolean): Promise<boolean> {
    const buffer = Buffer.alloc(4096);
    /** @returns undefined when there is nothing to read */
    const next = (): string | undefined => {
      try {
        return buffer.toString('utf8', 0, readSync(this.#own.fd, buffer));
      } catch (error) {
        if (errnoOf(error) === 'EAGAIN') return undefined;
        throw error;
      }
    };
    for (;;) {
      // What it said just before its end counts.
      const over = isOver();
      for (let text = next(); text !== undefined; text = next())
        if (text.split('\n').includes('READY=1')) return true;
      if (over) return false;
      await readable(this.#own.fd, LOOK_MS);
    }
  }

  /** sd_notify_barrier(3): the manager closes the descriptor that it is sent. */
  async #barrier(): Promise<void> {
    const { reader, writer } = createPipe('a barrier');
    using _reader = reader;
    try {
      sendDescriptor(this.#host.fd, writer.fd, Buffer.from('BARRIER=1'));
    } finally {
      writer[Symbol.dispose]();
    }
    await readable(reader.fd, BARRIER_MS);
  }

  [Symbol.dispose](): void {
    this.#own[Symbol.dispose]();
    this.#host[Symbol.dispose]();
    rmSync(this.#path, { force: true });
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Waits until there is something to read, or an end, or time is up. */
function readable(fd: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      watch[Symbol.dispose]();
      resolve();
    };
    const timer = setTimeout(done, timeoutMs);
    const watch = new Readiness(fd, done);
  });
}
