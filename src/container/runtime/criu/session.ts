/**
 * One run of criu as a worker (`criu swrk`): a request over a socket of packets, its notifications on the way, its answer. A worker that
 * restores is our child, and so is the container's first process then.
 */
import { closeSync, constants, mkdirSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { FileDescriptor } from '../../../sys/fd.js';
import { createSocketpair, sendAll } from '../../../sys/socketpair.js';
import { exitStatus, spawn, waitPid } from '../../../sys/spawn.js';
import { type ReceivedMessage, receiveMessage } from '../../../sys/unix-socket.js';
import { describeWaitStatus } from '../../launch/errors.js';
import { CheckpointError, errnoOf } from '../errors.js';
import {
  type CriuOptions,
  type CriuResponse,
  encodeFeatureCheck,
  encodeNotified,
  encodeRequest,
  parseResponse,
  REQUEST,
} from './request.js';

/** Its number among criu's descriptors; what else criu is given stands behind. */
const SOCKET = 3;
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'];

/** What goes on inside of a request; `descriptor` is closed when the call is over. @throws to have criu give up */
export type OnNotify = (response: CriuResponse, descriptor: FileDescriptor | undefined) => Promise<void>;

export class CriuSession implements Disposable {
  readonly pid: number;
  readonly #socket: FileDescriptor;
  #ended = false;

  /**
   * @param program a name to be looked for, or a path
   * @param descriptors what criu gets from 4 on
   * @param quiet nobody hears what it says besides its log
   * @throws CheckpointError where there is no such program
   */
  constructor(program: string, descriptors: readonly number[] = [], quiet = false) {
    const path = findProgram(program);
    const [ours, theirs] = createSocketpair("criu's socket", 'packets');
    this.#socket = ours;
    using nowhere = quiet ? FileDescriptor.open('/dev/null') : undefined;
    try {
      this.pid = spawn({
        path,
        argv: [path, 'swrk', String(SOCKET)],
        environment: environment(),
        descriptors: new Map([
          ...[0, 1, 2].map((fd) => [fd, nowhere?.fd ?? fd] as const),
          [SOCKET, theirs.fd],
          ...descriptors.map((fd, index) => [SOCKET + 1 + index, fd] as const),
        ]),
      });
    } catch (cause) {
      ours[Symbol.dispose]();
      throw new CheckpointError(`cannot run ${path}: ${errnoOf(cause)}`, { cause });
    } finally {
      theirs[Symbol.dispose]();
    }
  }

  /** Its number in criu of the descriptor at `index` of those that it was given. */
  static numberOf(index: number): number {
    return SOCKET + 1 + index;
  }

  /** @returns criu's answer, if it is a good one @throws CheckpointError, and what `notify` throws */
  async request(type: number, options: CriuOptions, notify: OnNotify): Promise<CriuResponse> {
    this.#send(encodeRequest(type, options));
    let failure: unknown;
    for (;;) {
      const { response, descriptor } = this.#receive();
      using _descriptor = descriptor;
      if (response.type !== REQUEST.notify) {
        // What made criu give up says more than that it did.
        if (failure !== undefined) throw failure;
        if (!response.success) throw new CheckpointError(response.message ?? `errno ${response.errno ?? 0}`);
        return response;
      }
      try {
        if (failure === undefined) await notify(response, descriptor);
      } catch (error) {
        failure = error;
      }
      this.#send(encodeNotified(failure === undefined));
    }
  }

  /** Whether the kernel tells which memory has changed since the last time. */
  tracksMemory(): boolean {
    this.#send(encodeFeatureCheck());
    return this.#receive().response.memoryTracking === true;
  }

  #send(bytes: Uint8Array): void {
    try {
      sendAll(this.#socket.fd, bytes);
    } catch (cause) {
      throw this.#gone(cause);
    }
  }

  #receive(): { response: CriuResponse; descriptor: FileDescriptor | undefined } {
    const { bytes, descriptor } = this.#packet();
    try {
      if (bytes.length === 0) throw this.#gone();
      return { response: parseResponse(bytes), descriptor };
    } catch (error) {
      descriptor?.[Symbol.dispose]();
      throw error;
    }
  }

  #packet(): ReceivedMessage {
    try {
      return receiveMessage(this.#socket.fd, 'a descriptor of criu');
    } catch (cause) {
      // ECONNRESET: it left before it had read all.
      throw this.#gone(cause);
    }
  }

  #gone(cause?: unknown): CheckpointError {
    const status = waitPid(this.pid) ?? 0;
    this.#ended = true;
    return new CheckpointError(`it ended early (${describeWaitStatus(status)})`, { cause });
  }

  /** Ends criu. A pre-dump's worker would wait for the dump. */
  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
    if (!this.#ended) exitStatus(waitPid(this.pid) ?? 0);
    this.#ended = true;
  }
}

/** @throws CheckpointError */
function findProgram(name: string): string {
  const places = name.includes('/') ? [name] : folders().map((folder) => join(folder, name));
  const found = places.find((path) => {
    try {
      return statSync(path).isFile();
    } catch {
      return false;
    }
  });
  if (found !== undefined) return found;
  throw new CheckpointError(`cannot run ${name}: ENOENT (no such file or directory)`, {
    hint: 'Install criu, or name it with --criu.',
  });
}

function folders(): string[] {
  const own = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder.startsWith('/'));
  return [...own, ...SYSTEM_PATH.filter((folder) => !own.includes(folder))];
}

/** criu runs iptables, nft, tar. */
function environment(): string[] {
  return [`PATH=${folders().join(delimiter)}`];
}

/** Folders of a request, as descriptors that criu reaches through us. */
export class CriuFolders implements Disposable {
  readonly images: number;
  readonly work: number;

  /** @throws CheckpointError */
  constructor(
    readonly imagesPath: string,
    readonly workPath: string,
    { create }: { create: boolean },
  ) {
    this.images = openFolder(imagesPath, create);
    try {
      this.work = openFolder(workPath, true);
    } catch (error) {
      closeSync(this.images);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.images);
    closeSync(this.work);
  }
}

function openFolder(path: string, create: boolean): number {
  try {
    if (create) mkdirSync(path, { recursive: true, mode: 0o700 });
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw new CheckpointError(`cannot use the folder ${path}: ${errnoOf(cause)}`, { cause });
  }
}

/**
 * Runs `work` and tells its failure with what criu's log says of it.
 *
 * @param action `dump`, `pre-dump` or `restore`
 */
export async function explained<T>(action: string, log: string, work: () => Promise<T>): Promise<T> {
  // An earlier one would be taken for this one's.
  rmSync(log, { force: true });
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof CheckpointError) || error.hint !== undefined) throw error;
    const said = lastErrors(readLog(log)) ?? error.message;
    throw new CheckpointError(`criu ${action} failed: ${said}`, {
      hint: `All that it says is in ${log}; criu check tells what this kernel and this criu can do together.`,
      cause: error,
    });
  }
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Some errors at the start are harmless; of those at the end the first is the cause of the others. */
const TOLD = 3;

/** `(00.036) Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds`: the last of them, without their places in criu's sources. */
export function lastErrors(log: string): string | undefined {
  const lines = log
    .split('\n')
    .filter((text) => /^\([0-9.]+\).*\bError\b/.test(text))
    .map((text) =>
      text
        .replace(/^\([0-9.]+\)\s*/, '')
        .replace(/\bError \([^)]*\):\s*/, '')
        .trim(),
    );
  return lines.length === 0 ? undefined : [...new Set(lines)].slice(-TOLD).join('; ');
}
