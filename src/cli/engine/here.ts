/**
 * On whose behalf a container command runs: of this process's own caller, or of a client of the resident engine (src/cli/resident-engine.ts),
 * where many run at a time. Commands ask here for what belongs to their caller, and print here.
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { AttachEnd } from '../../container/engine/attach.js';
import type { EngineContext } from '../../container/engine/context.js';
import type { ContainerRecord } from '../../container/engine/record.js';

/** What is joined to a container. */
export interface JoinOptions {
  readonly interactive: boolean;
  readonly tty: boolean;
  /** Signals that we get go to the container. */
  readonly signals: boolean;
  /** The container's input ends with us. */
  readonly ownsInput: boolean;
  /** We clean up after the container, and say so by {@link Joined.done}. */
  readonly cleansUp: boolean;
  /** Of its output only these; default: both. For a process of one's own alone, as the keys are. */
  readonly outputs?: readonly ('stdout' | 'stderr')[] | undefined;
  /** What is typed to leave it running, where it is not Ctrl-P Ctrl-Q. */
  readonly detachKeys?: Uint8Array | undefined;
}

/** The caller's streams at a container: its output is copied already. */
export interface Joined extends Disposable {
  /** Joins input, size and signals, and waits for the end; `gone`: nobody waits for it any more. */
  join(onSignal: (signal: NodeJS.Signals) => void): Promise<AttachEnd | { readonly kind: 'gone' }>;
  /** Everything is cleaned up after the end. */
  done(): Promise<void>;
}

export interface Here {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly stdinIsTerminal: boolean;
  /** Resolves when more can be printed without piling up. */
  print(stream: 'stdout' | 'stderr', text: string): Promise<void> | undefined;
  exit(status: number): void;
  open(): Promise<EngineContext>;
  /** @param record as it is now, with its first process */
  attach(context: EngineContext, record: ContainerRecord, options: JoinOptions): Promise<Joined>;
  /** Called by what only a process with the caller's own streams and files can do. */
  needOwnProcess(): void;
}

/** This process for itself. */
const OWN: Here = {
  variables: process.env,
  get cwd() {
    return process.cwd();
  },
  get stdinIsTerminal() {
    return process.stdin.isTTY;
  },
  print(stream, text) {
    const to = process[stream];
    return to.write(text) ? undefined : new Promise((done) => to.once('drain', done));
  },
  exit(status) {
    process.exitCode = status;
  },
  async open() {
    const [{ openEngine }, { log }] = await Promise.all([
      import('../../container/engine/open.js'),
      import('../log.js'),
    ]);
    return openEngine({ warn: (message) => log('warn', message) });
  },
  async attach(context, record, options) {
    const { OwnStreams } = await import('./own-streams.js');
    return OwnStreams.attach(context.store.folder(record.id), options);
  },
  needOwnProcess() {},
};

let current: () => Here | undefined = () => undefined;

/** For a process that runs commands for others: how it finds whose the running one is. */
export function lookUpHere(look: () => Here | undefined): void {
  current = look;
}

export function here(): Here {
  return current() ?? OWN;
}

export function printOut(text: string): void {
  void here().print('stdout', text);
}

export function printError(text: string): void {
  void here().print('stderr', text);
}

export function exitWith(status: number): void {
  here().exit(status);
}

/** A path as the caller means it. */
export function callersPath(path: string): string {
  return resolve(here().cwd, path);
}

/** A file that the caller names to be read. What is no plain file may be another one for another process, or have it wait. */
export function callersFile(path: string): string {
  const whole = callersPath(path);
  if (statSync(whole, { throwIfNoEntry: false })?.isFile() === false) here().needOwnProcess();
  return whole;
}
