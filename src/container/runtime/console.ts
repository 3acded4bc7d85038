/**
 * A terminal in the foreground: the master side of the container's pseudoterminal comes over a socket; what is typed here goes in, what it
 * prints comes out, and its size follows ours. Our own terminal, where there is one, is raw meanwhile.
 */
import { read as readFd, write as writeFd } from 'node:fs';
import { SystemError } from '../../sys/errors.js';
import type { FileDescriptor } from '../../sys/fd.js';
import { rawTerminal } from '../../sys/raw-terminal.js';
import { createSocketpair } from '../../sys/socketpair.js';
import { receiveDescriptor } from '../../sys/unix-socket.js';
import { CreateError, errnoOf } from './errors.js';
import { ownTerminalSize, setTerminalSize } from './terminal-size.js';

/** The end that the launch is given, and ours. */
export class ConsolePair implements Disposable {
  readonly launcherEnd: FileDescriptor;
  readonly #ours: FileDescriptor;

  constructor() {
    const [ours, theirs] = createSocketpair('the console socket');
    this.#ours = ours;
    this.launcherEnd = theirs;
  }

  /** The master side; the launch has sent it already, or never will. @throws CreateError */
  receive(): FileDescriptor {
    this.launcherEnd[Symbol.dispose]();
    const master = receiveDescriptor(this.#ours.fd, 'the terminal');
    if (master === undefined) throw new CreateError('the launch has sent no terminal');
    return master;
  }

  /** Joins our streams to the terminal, until what comes is disposed of. @throws CreateError */
  join(): ConsoleProxy {
    return new ConsoleProxy(this.receive());
  }

  [Symbol.dispose](): void {
    this.#ours[Symbol.dispose]();
    this.launcherEnd[Symbol.dispose]();
  }
}

const NEWLINE = 10;
const CTRL_D = 4;

/** Joins stdin and stdout to a terminal's master side until disposed of. */
export class ConsoleProxy implements AsyncDisposable {
  readonly #master: FileDescriptor;
  readonly #raw: Disposable | undefined;
  readonly #copied: Promise<void>;
  readonly #resize = () => copySize(this.#master.fd);
  readonly #type = (chunk: Buffer) => void this.#typeIn(chunk);
  readonly #end = () => void this.#typeEnd();
  #lineStarted = false;

  constructor(master: FileDescriptor) {
    this.#master = master;
    this.#resize();
    process.on('SIGWINCH', this.#resize);
    this.#raw = rawIfTerminal();
    process.stdin.on('data', this.#type);
    process.stdin.on('end', this.#end);
    process.stdin.on('error', () => {});
    this.#copied = copyOut(master.fd);
  }

  async #typeIn(chunk: Buffer): Promise<void> {
    process.stdin.pause();
    this.#lineStarted = chunk.at(-1) !== NEWLINE;
    await this.#write(chunk);
    if (!this.#master.closed) process.stdin.resume();
  }

  /** A terminal has no end of its own: a script that comes through a pipe ends as it would by Ctrl-D, once more after an open line. */
  async #typeEnd(): Promise<void> {
    await this.#write(Buffer.alloc(this.#lineStarted ? 2 : 1, CTRL_D));
  }

  async #write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#master.closed; ) {
      const written = await writeSome(this.#master.fd, bytes.subarray(at));
      if (written < 0) break;
      at += written;
    }
  }

  /** Resolves when the last process has closed the terminal and all that it printed is out. */
  get finished(): Promise<void> {
    return this.#copied;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('SIGWINCH', this.#resize);
    process.stdin.off('data', this.#type);
    process.stdin.off('end', this.#end);
    process.stdin.pause();
    // A daemon may keep the terminal open for ever; what was printed until now is there at once.
    await Promise.race([this.#copied, new Promise((done) => setTimeout(done, 200).unref())]);
    this.#raw?.[Symbol.dispose]();
    this.#master[Symbol.dispose]();
    process.stdin.unref?.();
  }
}

function rawIfTerminal(): Disposable | undefined {
  try {
    return rawTerminal(0, { keepOutput: true });
  } catch (error) {
    if (error instanceof SystemError) return undefined;
    throw error;
  }
}

/** Takes over the size of our terminal. */
function copySize(master: number): void {
  const size = ownTerminalSize();
  if (size !== undefined) setTerminalSize(master, size);
}

async function copyOut(master: number): Promise<void> {
  const buffer = Buffer.alloc(65536);
  for (;;) {
    const got = await new Promise<number>((resolve) =>
      // A terminal whose last user left answers EIO.
      readFd(master, buffer, 0, buffer.length, null, (error, length) =>
        resolve(error === null ? length : errnoOf(error) === 'EAGAIN' ? -1 : 0),
      ),
    );
    if (got === 0) return;
    if (got < 0) continue;
    const chunk = Buffer.from(buffer.subarray(0, got));
    if (!process.stdout.write(chunk)) await new Promise((done) => process.stdout.once('drain', done));
  }
}

function writeSome(fd: number, bytes: Uint8Array): Promise<number> {
  return new Promise((resolve) => {
    writeFd(fd, bytes, 0, bytes.length, null, (error, written) => resolve(error === null ? written : -1));
  });
}
