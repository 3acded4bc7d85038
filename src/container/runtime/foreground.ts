/**
 * Stays while a process runs in the foreground: signals that this process gets go on to the launcher, which hands them to the process; its
 * end is told by the launcher.
 */
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import type { Launch } from '../launch/launch.js';
import { errnoOf } from './errors.js';

/** Those that a terminal sends to its whole foreground group: the launcher has got them already. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT'];
const FORWARDED: readonly NodeJS.Signals[] = [
  ...FROM_TERMINAL,
  'SIGTERM',
  'SIGHUP',
  'SIGUSR1',
  'SIGUSR2',
  'SIGCONT',
  'SIGALRM',
  'SIGPWR',
  'SIGURG',
  'SIGIO',
];

/** Begins to hand signals on; before {@link target} is set they are kept. Disposing restores what they did before. */
export class SignalForwarder implements Disposable {
  #pid: number | undefined;
  #kept: NodeJS.Signals[] = [];
  readonly #terminal = hasTerminal();
  readonly #listener = (signal: NodeJS.Signals) => {
    if (this.#terminal && FROM_TERMINAL.includes(signal)) return;
    if (this.#pid === undefined) this.#kept.push(signal);
    else send(this.#pid, signal);
  };

  constructor() {
    for (const signal of FORWARDED) process.on(signal, this.#listener);
  }

  set target(pid: number) {
    this.#pid = pid;
    for (const signal of this.#kept) send(pid, signal);
    this.#kept = [];
  }

  [Symbol.dispose](): void {
    for (const signal of FORWARDED) process.off(signal, this.#listener);
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}

/**
 * Waits until no process of the launch can say anything more, with the event loop running.
 *
 * @throws LaunchError of a program that could not be run
 */
export async function waitClosed(launch: Launch): Promise<void> {
  for (;;) {
    const event = launch.next(0);
    if (event === undefined) {
      await readable(launch.controlFd);
      continue;
    }
    if (event.kind === 'failed') throw event.error;
    if (event.kind === 'closed' || event.kind === 'ended') return;
  }
}

async function readable(fd: number | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    if (fd === undefined) {
      setImmediate(resolve);
      return;
    }
    const handle = koffi.node.poll(fd, { readable: true }, () => {
      handle.close();
      resolve();
    });
  });
}
