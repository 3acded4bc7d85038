/**
 * A terminal, or pipes, joined to a container: its output to ours, our input to its stdin, the size of our terminal to its own. Ends with
 * the container, or when the detach keys (Ctrl-P Ctrl-Q) are typed.
 */
import type { Readable, Writable } from 'node:stream';
import { rawTerminal } from '../../sys/raw-terminal.js';
import { DetachKeys } from './detach-keys.js';
import type { MinderClient, Subscription } from './minder.js';

export interface AttachStreams {
  /** Undefined: no input. */
  readonly stdin: (Readable & { readonly isTTY?: boolean; readonly fd?: number }) | undefined;
  /** Undefined: that output is not wanted. */
  readonly stdout: (Writable & { readonly rows?: number; readonly columns?: number }) | undefined;
  readonly stderr: Writable | undefined;
}

export type AttachEnd =
  | { readonly kind: 'ended'; readonly exitCode: number }
  | { readonly kind: 'detached' }
  /** The minder was killed, or the container has ended before. */
  | { readonly kind: 'lost' };

/** Begins to copy output. After this no byte is lost; {@link join} brings input and waits. */
export async function follow(
  client: MinderClient,
  { stdout, stderr }: AttachStreams,
  role: Pick<Subscription, 'ownsStdin' | 'cleansUp'> = {},
): Promise<void> {
  const wanted = { stdout: stdout !== undefined, stderr: stderr !== undefined, ...role };
  await client.subscribe(wanted, (stream, bytes) => {
    const to = stream === 'stdout' ? stdout : stderr;
    if (to === undefined || to.write(bytes)) return;
    // Our reader is slow: so is the container, then.
    client.pause();
    to.once('drain', () => client.resume());
  });
}

/** Joins input and size, and waits for the end. @param tty whether the container has a terminal */
export async function join(
  client: MinderClient,
  streams: AttachStreams,
  tty: boolean,
  detachKeys?: Uint8Array,
): Promise<AttachEnd> {
  const { stdin, stdout } = streams;
  const ends: (() => void)[] = [];
  const detached = new Promise<AttachEnd>((resolve) => {
    if (stdin === undefined) return;
    const keys = new DetachKeys(detachKeys);
    const onData = (chunk: Buffer) => {
      const { pass, detach } = tty ? keys.take(chunk) : { pass: chunk, detach: false };
      if (pass.length > 0 && !client.input(pass)) {
        stdin.pause();
        client.onDrain(() => stdin.resume());
      }
      if (detach) resolve({ kind: 'detached' });
    };
    const onEnd = () => client.endInput();
    stdin.on('data', onData);
    stdin.on('end', onEnd);
    // A closed terminal is the end of input as well.
    stdin.on('error', onEnd);
    ends.push(() => {
      stdin.off('data', onData);
      stdin.off('end', onEnd);
      stdin.off('error', onEnd);
      stdin.pause();
    });
  });
  if (tty && stdin?.isTTY === true) {
    const raw = rawTerminal(stdin.fd ?? 0);
    ends.push(() => raw[Symbol.dispose]());
  }
  if (tty && stdout !== undefined) {
    const resize = () => {
      if (stdout.rows !== undefined && stdout.columns !== undefined)
        client.resize(stdout.rows, stdout.columns);
    };
    resize();
    process.on('SIGWINCH', resize);
    ends.push(() => process.off('SIGWINCH', resize));
  }
  const ended = client.ended.then(
    (exitCode): AttachEnd => (exitCode === undefined ? { kind: 'lost' } : { kind: 'ended', exitCode }),
  );
  try {
    return await Promise.race([ended, detached]);
  } finally {
    for (const end of ends.reverse()) end();
  }
}
