/**
 * The resident engine's socket: in a folder that nobody else may enter, one engine a folder. Clients that come while too many are being
 * served are turned away, which sends them the cold way.
 */
import { lstatSync, mkdirSync, rmSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SystemError, TvmmError } from '../../sys/errors.js';
import type { FileDescriptor } from '../../sys/fd.js';
import { FileLock, LockTimeoutError } from '../../sys/file-lock.js';
import { Readiness } from '../../sys/readiness.js';
import { acceptNow, listenUnix } from '../../sys/unix-listener.js';
import { PeerCheck } from './peer.js';
import { type Command, Session } from './session.js';

const BACKLOG = 1024;
const MAX_SESSIONS = 2000;
/** Accepted in one turn of the event loop, so that those who are served come to their turn as well. */
const AT_ONCE = 64;
/** Without descriptors nothing can be accepted for a while. */
const PAUSE_MS = 50;

/** The engine cannot listen. */
export class ServeError extends TvmmError {
  constructor(message: string, hint: string, cause?: unknown) {
    super(message, { code: 'SERVE_FAILED', hint, cause });
  }
}

/** Where client.c looks for the engine; undefined for a user without a folder for it. */
export function defaultSocket(): string | undefined {
  if (process.geteuid?.() === 0) return '/run/tvmm-serve/engine.sock';
  const { XDG_RUNTIME_DIR = '' } = process.env;
  return XDG_RUNTIME_DIR === '' ? undefined : join(XDG_RUNTIME_DIR, 'tvmm-serve/engine.sock');
}

export class Server implements AsyncDisposable {
  readonly #peers = new PeerCheck();
  readonly #sessions = new Set<Session>();
  readonly #listener: FileDescriptor;
  readonly #lock: FileLock;
  #readiness: Readiness | undefined;

  private constructor(
    readonly path: string,
    readonly command: Command,
    lock: FileLock,
  ) {
    this.#lock = lock;
    this.#listener = listenUnix(path, BACKLOG);
    this.#watch();
  }

  /** Listens at an absolute path. @throws ServeError, SystemError */
  static async start(path: string, command: Command): Promise<Server> {
    const folder = dirname(path);
    makeOwnFolder(folder);
    let lock: FileLock;
    try {
      lock = await FileLock.acquire(join(folder, 'lock'), 'exclusive', 0);
    } catch (cause) {
      if (!(cause instanceof LockTimeoutError)) throw cause;
      throw new ServeError(`an engine listens at ${path} already`, 'One is enough.', cause);
    }
    try {
      // Of an engine that was killed: nobody listens there while we hold the lock.
      if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) unlinkSync(path);
      return new Server(path, command, lock);
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
  }

  /** Clients that are connected. */
  get sessions(): number {
    return this.#sessions.size;
  }

  #watch(): void {
    this.#readiness = new Readiness(this.#listener.fd, () => this.#accept());
  }

  #accept(): void {
    try {
      for (let count = 0; count < AT_ONCE; count++) {
        const socket = acceptNow(this.#listener);
        if (socket === undefined) return;
        if (this.#sessions.size >= MAX_SESSIONS) {
          socket[Symbol.dispose]();
          continue;
        }
        const session = new Session(socket, this.#peers, this.command, (one) => this.#sessions.delete(one));
        this.#sessions.add(session);
        session.open();
      }
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#pause();
    }
  }

  #pause(): void {
    this.#readiness?.[Symbol.dispose]();
    this.#readiness = undefined;
    setTimeout(() => {
      if (!this.#listener.closed && this.#readiness === undefined) this.#watch();
    }, PAUSE_MS).unref();
  }

  /** Listens no more, and waits for the commands that are under way, but for at most so long. */
  async close(patienceMs: number): Promise<void> {
    if (this.#listener.closed) return;
    this.#readiness?.[Symbol.dispose]();
    this.#readiness = undefined;
    rmSync(this.path, { force: true });
    this.#listener[Symbol.dispose]();
    for (const session of this.#sessions) if (!session.running) session[Symbol.dispose]();
    for (let waited = 0; this.#sessions.size > 0 && waited < patienceMs; waited += 10) await delay(10);
    for (const session of this.#sessions) session[Symbol.dispose]();
    this.#lock[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close(0);
  }
}

function makeOwnFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { uid, mode } = lstatSync(folder);
  if (uid !== process.geteuid?.() || (mode & 0o170077) !== 0o040000)
    throw new ServeError(
      `${folder} is not a folder of this user alone`,
      'The socket in it gives whoever may connect all that this user may: chmod 700, or choose another folder.',
    );
}
