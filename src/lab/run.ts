/**
 * One command in a lab of its own, with live streams: a terminal where the caller has one (raw on this side, window size passed
 * on, Ctrl-C goes to the command), three separate, binary-clean streams otherwise. SIGINT, SIGTERM and SIGHUP end the lab
 * with 128 + n. No emulator, socket or folder outlives the call.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { ReadStream, WriteStream } from 'node:tty';
import { LabTimeoutError } from './errors.js';
import { JOBS_FOLDER, STREAM_JOB } from './layout.js';
import { MarkFinder, randomMark } from './mark.js';
import { rawTerminal } from './raw-terminal.js';
import { jobScript, labEnvironment } from './shell.js';
import { type LabOptions, type StartedLab, startLab } from './start.js';

/** The caller's streams; by default those of this process. */
export interface LabStreams {
  readonly stdin: Readable & Partial<Pick<ReadStream, 'isTTY' | 'setRawMode'>>;
  readonly stdout: Writable & Partial<Pick<WriteStream, 'isTTY' | 'rows' | 'columns'>>;
  readonly stderr: Writable;
}

/** Options of {@link runInLab}. */
export interface RunInLabOptions extends LabOptions {
  /** Absolute; by default this process's working directory, which L1 sees under the same path. */
  cwd?: string;
  /** Added to the lab's environment (PATH, HOME, LANG, TERM and TVMM_* of this process). */
  env?: Readonly<Record<string, string>>;
  /** Give the command a terminal; by default when stdin and stdout are one. */
  tty?: boolean;
  streams?: LabStreams;
  /** The command is sure to end itself within this time: longer, and L1 stands still and is ended. No limit by default. */
  timeoutMs?: number;
  /** Called when L1 is up, right before the command starts. */
  onUp?: () => void;
}

/** Signals that end the lab. */
const ENDING: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
/** The status of a command whose reader has gone away, as shells report SIGPIPE. */
const STATUS_SIGPIPE = 128 + constants.signals.SIGPIPE;

/**
 * Runs `argv` as root in a fresh lab and resolves to its exit status (128 + n after signal n; 126 and 127 as shells do).
 * Throws `LabStartError`, `LabOptionError`, `LabDiedError`, `LabJobError`, `LabTimeoutError`.
 */
export async function runInLab(argv: readonly string[], options: RunInLabOptions = {}): Promise<number> {
  const streams = options.streams ?? process;
  const tty = options.tty ?? (streams.stdin.isTTY === true && streams.stdout.isTTY === true);
  const env = { ...labEnvironment(process.env), ...options.env };
  const script = jobScript({ argv, cwd: options.cwd ?? process.cwd(), env });

  const abort = new AbortController();
  let ending: number | undefined;
  const end = (status: number) => {
    ending ??= status;
    abort.abort();
  };
  let timer: NodeJS.Timeout | undefined;
  let hung: LabTimeoutError | undefined;
  const hang = () => {
    hung = new LabTimeoutError(
      `the lab gave no answer for ${(options.timeoutMs ?? 0) / 1000} s and was ended`,
      {
        hint: 'Try again: an emulator with several CPUs stands still at times (tvmm lab --cpus 1 has not been seen to).',
        // What there was is on the streams already.
        stdout: '',
        stderr: '',
      },
    );
    abort.abort();
  };
  const onSignal = (signal: NodeJS.Signals) => end(128 + constants.signals[signal]);
  for (const signal of ENDING) process.on(signal, onSignal);
  const aborted = new Promise<void>((resolve) => abort.signal.addEventListener('abort', () => resolve()));
  const work = (async () => {
    const lab = await startLab({ ...options, signal: abort.signal }, ['stdin', 'stdout', 'stderr']);
    try {
      const folder = join(lab.exchange, JOBS_FOLDER, `${STREAM_JOB}`);
      mkdirSync(folder);
      writeFileSync(join(folder, 'script'), script);
      options.onUp?.();
      timer = options.timeoutMs === undefined ? undefined : setTimeout(hang, options.timeoutMs);
      return await Promise.race([stream(lab, streams, tty, end), aborted.then(() => 0)]);
    } finally {
      clearTimeout(timer);
      await lab[Symbol.asyncDispose]();
    }
  })();
  try {
    const status = await work;
    if (hung !== undefined) throw hung;
    return ending ?? status;
  } catch (error) {
    if (ending !== undefined) return ending;
    throw error;
  } finally {
    for (const signal of ENDING) process.off(signal, onSignal);
  }
}

/** Connects the caller's streams with the command's, and waits for its end. */
async function stream(
  lab: StartedLab,
  streams: LabStreams,
  tty: boolean,
  end: (status: number) => void,
): Promise<number> {
  const { stdin, stdout } = streams;
  const input = lab.qemu.port('stdin');
  // A terminal that was never told its size has 0 by 0.
  const size = () => ({ rows: stdout.rows || 24, columns: stdout.columns || 80 });
  const resized = () => lab.control.size(size().rows, size().columns);
  const mark = randomMark();
  const outputs = [
    passUntilMark(lab.qemu.port('stdout'), stdout, mark, end),
    passUntilMark(lab.qemu.port('stderr'), streams.stderr, mark, end),
  ];
  using _raw = tty ? rawTerminal(stdin) : undefined;
  if (tty) stdout.on('resize', resized);
  // The end of stdin half-closes the port, which the command reads as end-of-file.
  stdin.pipe(input);
  stdin.once('error', () => input.end());
  try {
    const status = await lab.control.stream(STREAM_JOB, tty ? 'tty' : 'pipe', mark, size());
    // The agent has written the marks by now; they come as fast as the caller takes what stands before them.
    await Promise.all(outputs);
    return status;
  } finally {
    stdout.off('resize', resized);
    release(stdin, input);
  }
}

/** Copies `from` to `to` with its back-pressure until the mark has come and everything before it is written. */
function passUntilMark(
  from: Readable,
  to: Writable,
  mark: string,
  end: (status: number) => void,
): Promise<void> {
  const finder = new MarkFinder(mark);
  return new Promise((resolve) => {
    to.on('error', (error: NodeJS.ErrnoException) => end(error.code === 'EPIPE' ? STATUS_SIGPIPE : 125));
    from.on('data', (chunk: Buffer) => {
      const bytes = finder.pass(chunk);
      if (finder.found) to.write(bytes, () => resolve());
      else if (bytes.length > 0 && !to.write(bytes)) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    });
    from.once('close', () => to.write(finder.rest(), () => resolve()));
  });
}

/** Lets go of the caller's stdin, so that it keeps no event loop alive. */
function release(stdin: LabStreams['stdin'], port: Writable): void {
  stdin.unpipe(port);
  stdin.pause();
  // A file as stdin has no unref, and needs none.
  if (stdin === process.stdin) process.stdin.unref?.();
}
