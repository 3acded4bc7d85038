/**
 * `tvmm boot` on this machine's /dev/kvm: the console or one command, signals, time limit, and the exit status of it all.
 */
import { createReadStream } from 'node:fs';
import { constants } from 'node:os';
import { RUN_PORTS } from '../../guest/init-script.js';
import { runArchive } from '../../guest/run-archive.js';
import { Cleanup } from '../../sys/cleanup.js';
import type { FileDescriptor } from '../../sys/fd.js';
import { createPipe, readToEnd } from '../../sys/pipe.js';
import { GuestError, MachineError } from '../errors.js';
import { Machine, type MachineEnd } from '../machine.js';
import type { Timeline } from '../timeline.js';
import type { BootRequest } from './request.js';
import { DEFAULT_ROOT_WORD, type GuestFiles, machineConfig } from './resolve.js';
import { attachInput } from './terminal.js';

/** What a boot came to. */
export interface BootReport {
  /** Exit status for the shell. */
  status: number;
  /** Why the machine ended. */
  end: MachineEnd['reason'];
  /** Output of `--run`, when it was captured for a report. */
  stdout?: string;
  stderr?: string;
  /** Where the time until the first instruction went, milliseconds. */
  timings: { name: string; ms: number }[];
  /** VM exits by KVM_EXIT_* reason, summed over the vCPUs. */
  exits: Record<string, number>;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** How much of the guest's console is kept for the message when `--run` fails. */
const CONSOLE_TAIL = 4096;
/** How often the console is asked whether anybody still reads it. */
const READER_CHECK_MS = 200;
/** 128 + SIGPIPE, as any program whose reader left. */
const STATUS_SIGPIPE = 128 + constants.signals.SIGPIPE;
/** How often the end of stdin is told to the default guest's shell. */
const EOF_INTERVAL_MS = 1000;
/** A captured stream longer than this ends the capture. */
const CAPTURE_LIMIT = 64 * 2 ** 20;

/** Takes the report as soon as nothing of the guest runs any more. It may end the process. */
export type Finish = (report: BootReport) => void;

/** Boots and stays until the machine is over. @throws TvmmError: the machine could not be made, or failed */
export async function bootNative(
  request: BootRequest,
  files: GuestFiles,
  timeline: Timeline,
  finish: Finish,
): Promise<void> {
  return request.run === undefined
    ? runConsole(request, files, timeline, finish)
    : runCommand(request, request.run, files, timeline, finish);
}

/** The signals that end a machine, caught from before there is one: none may find the terminal raw and nobody listening. */
class EndingSignals implements Disposable {
  /** The first one that came. */
  received: number | undefined;
  #stop: () => void = () => {};
  readonly #listener = (name: NodeJS.Signals) => {
    this.received ??= constants.signals[name];
    this.#stop();
  };

  constructor() {
    for (const name of SIGNALS) process.on(name, this.#listener);
  }

  /** Calls `stop` when a signal comes, at once where one has come. */
  onReceived(stop: () => void): void {
    this.#stop = stop;
    if (this.received !== undefined) stop();
  }

  [Symbol.dispose](): void {
    for (const name of SIGNALS) process.off(name, this.#listener);
  }
}

/** Runs a machine to its end: signals and the time limit stop it. */
async function untilEnd(
  machine: Machine,
  request: BootRequest,
  signals: EndingSignals,
): Promise<{ end: MachineEnd; signal?: number }> {
  let timedOut = false;
  const timer =
    request.timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          void machine.stop();
        }, request.timeoutMs);
  try {
    machine.start();
    signals.onReceived(() => void machine.stop());
    const end = await machine.quiet;
    if (timedOut && end.reason === 'stopped') {
      throw new MachineError(
        `the guest was still running after ${(request.timeoutMs ?? 0) / 1000} s and was stopped`,
        {
          code: 'TIMEOUT',
          hint: 'Give it longer with --timeout, or look at its console.',
        },
      );
    }
    if (end.reason === 'failed') throw end.error;
    return { end, signal: signals.received };
  } finally {
    clearTimeout(timer);
  }
}

function report(machine: Machine, end: MachineEnd, status: number): BootReport {
  const exits: Record<string, number> = {};
  for (const counts of machine.exitCounts) {
    counts.forEach((count, reason) => {
      if (count > 0) exits[reason] = (exits[reason] ?? 0) + count;
    });
  }
  return { status, end: end.reason, timings: machine.timeline.steps(), exits };
}

async function runConsole(
  request: BootRequest,
  files: GuestFiles,
  timeline: Timeline,
  finish: Finish,
): Promise<void> {
  using signals = new EndingSignals();
  // With --json stdout belongs to the report.
  const serialFd = request.json ? 2 : 1;
  await using machine = await Machine.create({ ...machineConfig(request, files), serialFd }, timeline);
  for (const warning of machine.warnings) process.stderr.write(`tvmm: ${warning}\n`);
  machine.onLog = (message) => process.stderr.write(`tvmm: ${message}\r\n`);
  using input = attachInput(machine, process.stdin, {
    onQuit: () => void machine.stop(),
    repeatEofMs: files.cmdline.includes(DEFAULT_ROOT_WORD) ? EOF_INTERVAL_MS : undefined,
  });
  // A guest does not know of pipes: without its reader it would run on for ever.
  const watch = setInterval(() => {
    if (machine.serialBroken) void machine.stop();
  }, READER_CHECK_MS);
  try {
    const { end, signal } = await untilEnd(machine, request, signals);
    const left = end.reason === 'stopped' && machine.serialBroken;
    input[Symbol.dispose]();
    finish(report(machine, end, signal === undefined ? (left ? STATUS_SIGPIPE : 0) : 128 + signal));
  } finally {
    clearInterval(watch);
  }
}

/** Keeps the last bytes of the guest's console. */
function consoleTail(reader: FileDescriptor): { text: () => string } {
  let tail = Buffer.alloc(0);
  const stream = createReadStream('', { fd: reader.fd, autoClose: false });
  stream.on('data', (chunk) => {
    tail = Buffer.concat([tail, Buffer.from(chunk)]).subarray(-CONSOLE_TAIL);
  });
  stream.on('error', () => {});
  return { text: () => tail.toString('utf8').trim() };
}

/** Collects a pipe's bytes while the machine runs. */
function capture(reader: FileDescriptor): { text: () => Promise<string> } {
  const chunks: Buffer[] = [];
  let total = 0;
  const stream = createReadStream('', { fd: reader.fd, autoClose: false });
  const done = new Promise<void>((resolve) => {
    stream.once('end', resolve);
    stream.once('error', () => resolve());
  });
  stream.on('data', (chunk) => {
    total += chunk.length;
    if (total <= CAPTURE_LIMIT) chunks.push(Buffer.from(chunk));
  });
  return {
    text: async () => {
      await done;
      return Buffer.concat(chunks).toString('utf8');
    },
  };
}

async function runCommand(
  request: BootRequest,
  command: string,
  files: GuestFiles,
  timeline: Timeline,
  finish: Finish,
): Promise<void> {
  using signals = new EndingSignals();
  await using cleanup = new Cleanup();
  const pipe = (name: string) => {
    const { reader, writer } = createPipe(name);
    return { reader: cleanup.use(reader), writer: cleanup.use(writer) };
  };
  const serial = pipe('the guest console');
  const control = pipe('the control port');
  const captured = request.json ? { stdout: pipe('stdout'), stderr: pipe('stderr') } : undefined;
  const machine = await Machine.create(
    {
      ...machineConfig(request, files, [runArchive(command)]),
      serialFd: serial.writer.fd,
      ports: [
        { name: RUN_PORTS.stdin, inputFd: 0, outputFd: -1 },
        { name: RUN_PORTS.stdout, inputFd: -1, outputFd: captured?.stdout.writer.fd ?? 1 },
        { name: RUN_PORTS.stderr, inputFd: -1, outputFd: captured?.stderr.writer.fd ?? 2 },
        { name: RUN_PORTS.control, inputFd: -1, outputFd: control.writer.fd },
      ],
    },
    timeline,
  );
  cleanup.defer(async () => {
    await machine.stop();
  });
  for (const warning of machine.warnings) process.stderr.write(`tvmm: ${warning}\n`);
  const tail = consoleTail(serial.reader);
  const streams = captured && {
    stdout: capture(captured.stdout.reader),
    stderr: capture(captured.stderr.reader),
  };
  const { end, signal } = await untilEnd(machine, request, signals);
  for (const { writer } of [serial, control, ...Object.values(captured ?? {})]) writer[Symbol.dispose]();
  const status = signal === undefined ? exitStatus(control.reader, end, tail.text()) : 128 + signal;
  finish({
    ...report(machine, end, status),
    ...(streams && { stdout: await streams.stdout.text(), stderr: await streams.stderr.text() }),
  });
}

/** The control port's one line: `exit N`, or `error SENTENCE`. @throws GuestError when the command did not run to its end */
function exitStatus(reader: FileDescriptor, end: MachineEnd, consoleText: string): number {
  const said = Buffer.from(readToEnd(reader.fd, 65536)).toString('utf8');
  const exit = /^exit (\d+)$/m.exec(said);
  if (exit !== null) return Number(exit[1]);
  const error = /^error (.+)$/m.exec(said)?.[1];
  const last = consoleText === '' ? '' : `\nThe guest's console said last:\n${consoleText}`;
  throw new GuestError(
    `the command did not finish in the guest: ${error ?? `the machine ended (${end.reason})`}${last}`,
    {
      code: 'RUN_UNFINISHED',
      hint: 'Boot without --run to see the guest’s console.',
    },
  );
}
