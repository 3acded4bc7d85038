/**
 * `sharedLab()`: the one L1 of this test run, for every test file that needs real hardware virtualization (or cgroup v2, or a
 * root of its own). The first file that asks waits for its boot; nobody disposes of it. A test that would harm L1 (reboot it,
 * fill it) starts a `Lab` of its own. Files that change during the run go onto the exchange share.
 */
import { connect, type Socket } from 'node:net';
import { inject } from 'vitest';
import { LabDiedError, LabJobError, LabTimeoutError } from '../../src/lab/errors.js';
import type { LabExecOptions, LabResult } from '../../src/lab/lab.js';
import { EXCHANGE_IN_LAB } from '../../src/lab/layout.js';
import { whyNoLab } from '../../src/lab/start.js';
import { type LabFailure, type LabResponse, onMessage, send } from './lab-protocol.js';

/** Why this machine has no lab, for `describe.skipIf(noLab)` and its message; undefined where it has one. */
export const noLab = whyNoLab();

/** What a test may do with the shared lab: the same as with a `Lab`, except to end it. */
export interface SharedLab {
  /** The exchange share's folder on this host. */
  readonly exchange: string;
  /** The exchange share as L1 sees it. */
  readonly exchangeInLab: string;
  exec(argv: readonly string[], options?: LabExecOptions): Promise<LabResult>;
}

let shared: Promise<SharedLab> | undefined;

/** The shared lab, booted if this is its first use. */
export function sharedLab(): Promise<SharedLab> {
  shared ??= open();
  return shared;
}

async function open(): Promise<SharedLab> {
  const client = new Client(connect(inject('labSocket')));
  const { exchange } = await client.ask([], {});
  return {
    exchange: exchange ?? '',
    exchangeInLab: EXCHANGE_IN_LAB,
    async exec(argv, options = {}) {
      if (argv.length === 0)
        throw new LabJobError('the lab was given no command to run', { code: 'LAB_NO_COMMAND' });
      const { status = -1, stdout = '', stderr = '' } = await client.ask(argv, options);
      return { status, stdout, stderr };
    },
  };
}

class Client {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, (response: LabResponse) => void>();
  #last = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    // The keeper outlives every test file; an open socket must not keep the file's process alive.
    socket.unref();
    socket.on('error', () => this.#close());
    socket.on('close', () => this.#close());
    onMessage<LabResponse>(socket, (response) => {
      this.#waiting.get(response.id)?.(response);
      this.#waiting.delete(response.id);
    });
  }

  async ask(argv: readonly string[], options: LabExecOptions): Promise<LabResponse> {
    const id = ++this.#last;
    this.#socket.ref();
    const response = await new Promise<LabResponse>((resolve) => {
      this.#waiting.set(id, resolve);
      const stdin = options.stdin === undefined ? undefined : Buffer.from(options.stdin).toString('base64');
      send(this.#socket, { id, argv, cwd: process.cwd(), ...options, stdin });
    });
    if (this.#waiting.size === 0) this.#socket.unref();
    if (response.failure !== undefined) throw putTogether(response.failure);
    return response;
  }

  #close(): void {
    const failure = {
      name: 'LabDiedError',
      message: 'the keeper of the shared lab is gone',
      code: 'LAB_DIED',
    };
    for (const [id, answer] of this.#waiting) answer({ id, failure });
    this.#waiting.clear();
  }
}

/** The error as the keeper had it, so that a test can tell a timeout from a death. */
function putTogether(failure: LabFailure): Error {
  const { name, message, code = 'LAB', hint, stdout = '', stderr = '' } = failure;
  if (name === LabTimeoutError.name) return new LabTimeoutError(message, { hint, stdout, stderr });
  return new LabDiedError(message, { code, hint });
}
