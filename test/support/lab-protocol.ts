/**
 * What a test file and the lab's keeper say to each other: one JSON object a line, on a Unix socket. Both ends are this
 * project's tests, so a message that does not fit is a bug and is thrown, not answered.
 */
import type { Socket } from 'node:net';

/** A command for the shared lab, as `Lab.exec` takes it. */
export interface LabRequest {
  readonly id: number;
  readonly argv: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Base64. */
  readonly stdin?: string;
  readonly timeoutMs?: number;
}

/** An error of the lab's, taken apart. */
export interface LabFailure {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly hint?: string;
  readonly stdout?: string;
  readonly stderr?: string;
}

export interface LabResponse {
  readonly id: number;
  readonly exchange?: string;
  readonly status?: number;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly failure?: LabFailure;
}

/** Calls `take` with each message that comes. `T` is the word of the other end, which is ours. */
export function onMessage<T extends { id: number }>(socket: Socket, take: (message: T) => void): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (text) => {
    const lines = `${rest}${text}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take(JSON.parse(line));
  });
}

export function send(socket: Socket, message: LabRequest | LabResponse): void {
  if (!socket.destroyed) socket.write(`${JSON.stringify(message)}\n`);
}
