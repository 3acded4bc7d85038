/**
 * The minder from the engine's side. Decision: a small C process for each container (firmware/minder.c, some 200 KB resident) instead of a
 * resident Node process (40 MB, and one death for all). It is the parent of the container's init, so it alone can know the wait status; it
 * pumps and rotates logs, serves attached terminals, records the end in exit.json and then becomes `dist/container-exited.cjs`, which
 * cleans up, and starts again what the restart policy asks for. Killing it loses the wait status and nothing else: output goes through named
 * FIFOs that the container holds open for reading itself, the next command sees what is left (settle.ts) and starts another minder.
 */
import { spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { packageRoot } from '../../sys/package-root.js';
import { MinderError } from './errors.js';
import { readIfThere } from './files.js';
import {
  encodeFrame,
  encodePid,
  encodeResize,
  exitCodeOf,
  FRAME,
  type Frame,
  FrameReader,
} from './frames.js';
import { number, object, parseDocument, text } from './shape.js';

/** Names below a container's folder. */
export const MINDER_SOCKET = 'minder.sock';
export const CONSOLE_SOCKET = 'console.sock';
export const LOG_FILE = 'log';
const EXIT_FILE = 'exit.json';

const CONNECT_TIMEOUT_MS = 10_000;

export interface MinderOptions {
  readonly folder: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  /** Undefined: no log. */
  readonly log: { readonly maxSize: number; readonly maxFiles: number } | undefined;
  readonly exitCommand: readonly string[];
  /** The container goes with its end: no record of that has to outlive the machine. */
  readonly transient?: boolean;
  /** The container is killed when it has run so long. */
  readonly lifeMs?: number;
  /** When the exit command is run with the word `health` behind it; milliseconds. */
  readonly checks?: {
    readonly interval: number;
    /** The interval until `startPeriod` is over or a check was good. */
    readonly startInterval: number;
    readonly startPeriod: number;
    /** It is killed then: it should have ended long before. */
    readonly limit: number;
  };
}

function minderPath(): string {
  return join(packageRoot(), 'dist', 'firmware', 'minder');
}

/** The words that stand before the launcher's own: with them the launcher is started under a minder. */
export function minderCommand({
  folder,
  tty,
  stdin,
  log,
  exitCommand,
  transient = false,
  lifeMs,
  checks,
}: MinderOptions): string[] {
  return [
    minderPath(),
    ...(tty ? ['--tty'] : []),
    ...(stdin ? ['--stdin'] : []),
    ...(log === undefined ? [] : ['--log', String(log.maxSize), String(log.maxFiles)]),
    ...(transient ? ['--transient'] : []),
    ...(lifeMs === undefined ? [] : ['--life', String(lifeMs)]),
    ...(checks === undefined
      ? []
      : ['--check', checks.interval, checks.startInterval, checks.startPeriod, checks.limit].map(String)),
    ...exitCommand.flatMap((word) => ['--exit', word]),
    folder,
    '--',
  ];
}

/** Starts a minder for a container whose own was killed. */
export async function adopt(options: MinderOptions, pid: number): Promise<void> {
  const [command = '', ...rest] = minderCommand(options).slice(0, -2);
  const child = spawn(command, [...rest, '--adopt', String(pid), options.folder], {
    stdio: 'ignore',
    detached: true,
  });
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => resolve());
  });
}

const exitShape = object({ pid: number, status: number, finished: text });

/** What the minder recorded about the end of init. */
export interface ExitRecord {
  readonly pid: number;
  readonly exitCode: number;
  readonly finished: string;
}

/** The recorded end; undefined when there is none. @throws RecordError */
export function readExit(folder: string): ExitRecord | undefined {
  const json = readIfThere(join(folder, EXIT_FILE));
  // A power cut may have emptied what was not to outlive it.
  if (json === undefined || json === '') return undefined;
  const { pid, status, finished } = parseDocument(exitShape, json, join(folder, EXIT_FILE));
  return { pid, exitCode: exitCodeOf(status), finished };
}

/** Streams of the container that a client asks for. */
export interface Subscription {
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** The container's stdin ends when this client goes, however it goes. */
  readonly ownsStdin?: boolean;
  /** This client does what the exit command would do, and says so with {@link MinderClient.done}. */
  readonly cleansUp?: boolean;
}

/** A connection to a container's minder. */
export class MinderClient implements Disposable {
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  readonly #answers: ((pid: number) => void)[] = [];
  #onOutput: (stream: 'stdout' | 'stderr', bytes: Buffer) => void = () => {};
  #settleEnd: (status: number | undefined) => void = () => {};

  /** Resolves with the exit status, or undefined when the minder was killed or let go of us. */
  readonly ended: Promise<number | undefined>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.ended = new Promise((resolve) => {
      this.#settleEnd = resolve;
    });
    socket.on('data', (bytes) => {
      try {
        for (const frame of this.#reader.read(bytes)) this.#take(frame);
      } catch {
        socket.destroy();
      }
    });
    // A reset is the same as an end: the minder is gone.
    socket.on('error', () => {});
    socket.on('close', () => this.#settleEnd(undefined));
  }

  /** @throws MinderError when there is no minder */
  static async connect(folder: string): Promise<MinderClient> {
    // Socket paths end at 107 bytes: through the folder's descriptor every folder is near.
    const directory = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      return await new Promise<MinderClient>((resolve, reject) => {
        const socket = connect(`/proc/self/fd/${directory}/${MINDER_SOCKET}`);
        socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error('no answer')));
        socket.once('error', (cause) =>
          reject(
            new MinderError(`the minder of ${folder} cannot be reached`, { code: 'MINDER_GONE', cause }),
          ),
        );
        socket.once('connect', () => {
          socket.setTimeout(0);
          resolve(new MinderClient(socket));
        });
      });
    } finally {
      closeSync(directory);
    }
  }

  #take({ type, payload }: Frame): void {
    if (type === FRAME.stdout) this.#onOutput('stdout', payload);
    else if (type === FRAME.stderr) this.#onOutput('stderr', payload);
    else if (type === FRAME.end && payload.length === 4) this.#settleEnd(exitCodeOf(payload.readInt32LE()));
    else if (type === FRAME.ok && payload.length === 4) this.#answers.shift()?.(payload.readInt32LE());
  }

  /** Sends a frame and waits for its answer: the minder's pid. */
  #ask(frame: Buffer): Promise<number> {
    return new Promise((resolve, reject) => {
      const gone = () => reject(new MinderError('the minder is gone', { code: 'MINDER_GONE' }));
      if (this.#socket.destroyed) return gone();
      this.#socket.once('close', gone);
      this.#answers.push((pid) => {
        this.#socket.off('close', gone);
        resolve(pid);
      });
      this.#socket.write(frame);
    });
  }

  /** Tells which process is init. @returns the minder's own pid */
  tellInit(pid: number): Promise<number> {
    return this.#ask(encodePid(pid));
  }

  /** From now on output is given to `onOutput`. */
  async subscribe(
    { stdout, stderr, ownsStdin = false, cleansUp = false }: Subscription,
    onOutput: (stream: 'stdout' | 'stderr', bytes: Buffer) => void,
  ): Promise<void> {
    this.#onOutput = onOutput;
    await this.#ask(
      encodeFrame(
        FRAME.subscribe,
        Uint8Array.of((stdout ? 1 : 0) | (stderr ? 2 : 0) | (ownsStdin ? 4 : 0) | (cleansUp ? 8 : 0)),
      ),
    );
  }

  /** @returns whether the socket takes more at once */
  input(bytes: Uint8Array): boolean {
    let room = true;
    for (let at = 0; at < bytes.length; at += 32 * 1024)
      room = this.#socket.write(encodeFrame(FRAME.stdin, bytes.subarray(at, at + 32 * 1024)));
    return room;
  }

  onDrain(action: () => void): void {
    this.#socket.once('drain', action);
  }

  endInput(): void {
    this.#socket.write(encodeFrame(FRAME.stdinEnd));
  }

  resize(rows: number, columns: number): void {
    this.#socket.write(encodeResize(rows, columns));
  }

  /** After the end: everything is cleaned up. A minder that is gone does not mind. */
  async done(): Promise<void> {
    if (this.#socket.destroyed) return;
    await new Promise<void>((resolve) => {
      this.#socket.once('close', resolve);
      this.#socket.write(encodeFrame(FRAME.done), () => resolve());
    });
  }

  /** Stops reading: the container is held back once the pipes are full. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
