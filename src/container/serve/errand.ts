/**
 * What the engine has the client of `tvmm` (firmware/tvmm.c) do in its caller's place: print, start a launcher under a minder, join the
 * caller's streams to a container. The client answers in words of 8 bytes, type and value; anything else ends the connection.
 */

import { sealedMemfd } from '../../sys/memfd.js';
import { createSocketpair } from '../../sys/socketpair.js';
import { launcherFile } from '../launch/launcher-file.js';
import { encodePlan } from '../plan/encode.js';
import { CONTROL, type Plan } from '../plan/plan.js';
import { planCache } from './plan-cache.js';
import { RemoteLaunch } from './remote-launch.js';
import { CallerGoneError, type Client } from './session.js';
import { ANSWER, encodeAnswer } from './wire.js';

/** firmware/client/attach.h has the same tables. */
const SAY = { spawned: 1, attached: 2, signal: 3, ended: 4, detached: 5, lost: 6 } as const;
const JOIN = { input: 1, terminal: 2, signals: 4, cleansUp: 8, ownsInput: 16 } as const;
const WORD_SIZE = 8;
const NOTHING = new Uint8Array();

export type StreamName = 'stdout' | 'stderr';

export interface AttachmentKind {
  /** What is typed goes to the container. */
  readonly input: boolean;
  readonly terminal: boolean;
  /** Signals go to the container. */
  readonly signals: boolean;
  /** {@link Errands.cleaned} will be called. */
  readonly cleansUp: boolean;
  /** The container's input ends with the client. */
  readonly ownsInput: boolean;
}

/** How an attachment ended; with `gone` the client has left, and nobody waits. */
export type AttachmentEnd =
  | { readonly kind: 'ended'; readonly waitStatus: number }
  | { readonly kind: 'detached' | 'lost' | 'gone' };

/** A launch under a minder. */
export interface Spawned {
  readonly launch: RemoteLaunch;
  /** The wait status of what stands in for the launcher. @throws CallerGoneError */
  readonly ended: Promise<number>;
}

interface Waiting {
  readonly says: number;
  resolve(value: number): void;
  reject(error: Error): void;
}

export class Errands {
  readonly #client: Client;
  #rest: Buffer = Buffer.alloc(0);
  #waiting: Waiting | undefined;
  #launch: RemoteLaunch | undefined;
  #gone = false;
  #settleEnd: (end: AttachmentEnd) => void = () => {};
  /** Called for a signal that is meant for the container. */
  onSignal: (signal: number) => void = () => {};

  /** Resolves when the attachment has ended, or the client has left. */
  readonly end: Promise<AttachmentEnd>;

  /** Tells the client that it is being served. @throws CallerGoneError */
  constructor(client: Client) {
    this.#client = client;
    this.end = new Promise((resolve) => {
      this.#settleEnd = resolve;
    });
    client.listen({ data: (bytes) => this.#hear(bytes), closed: () => this.#leave() });
    client.send(encodeAnswer(ANSWER.taken, 0, NOTHING, NOTHING));
  }

  /** Whether the client has left. */
  get gone(): boolean {
    return this.#gone;
  }

  /** To a client that has left it does nothing. */
  print(stream: StreamName, bytes: Uint8Array): void {
    if (this.#gone || bytes.length === 0) return;
    const isOutput = stream === 'stdout';
    this.#client.send(encodeAnswer(ANSWER.print, 0, isOutput ? bytes : NOTHING, isOutput ? NOTHING : bytes));
  }

  /**
   * Starts the launcher as a descendant of the client.
   *
   * @param under as in LaunchOptions
   * @throws CallerGoneError
   */
  spawn(plan: Plan, under: readonly string[]): Spawned {
    if (plan.inherited[CONTROL] !== 3 || Object.keys(plan.inherited).length !== 1)
      throw new RangeError('the plan inherits more than its control socket');
    const [ours, theirs] = createSocketpair('the launch’s control socket');
    try {
      const prepared = planCache.prepared(plan);
      using file = sealedMemfd('tvmm-plan', prepared?.bytes() ?? encodePlan(plan), 'data');
      using _theirs = theirs;
      const words = Buffer.from([...under, '/proc/self/fd/5', '4'].map((word) => `${word}\0`).join(''));
      const header = encodeAnswer(ANSWER.spawn, 0, words.length, NOTHING);
      this.#client.send(header, [theirs.fd, file.fd, launcherFile().fd]);
      this.#client.send(words);
      const launch = new RemoteLaunch(plan, ours, prepared?.exact);
      this.#launch = launch;
      return { launch, ended: this.#await(SAY.spawned) };
    } catch (error) {
      ours[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Has the client connect with a container's minder: from now on it prints what the container does.
   *
   * @param pidfd of the container's first process
   * @returns false when there is no minder
   * @throws CallerGoneError
   */
  async attach(folder: string, pidfd: number, kind: AttachmentKind): Promise<boolean> {
    const flags = Object.entries(JOIN).reduce((sum, [name, bit]) => {
      const wanted = Object.entries(kind).some(([key, value]) => key === name && value === true);
      return wanted ? sum | bit : sum;
    }, 0);
    const path = Buffer.from(folder);
    this.#client.send(encodeAnswer(ANSWER.attach, flags, path.length, NOTHING), [pidfd]);
    this.#client.send(path);
    const attached = this.#await(SAY.attached).then(() => true);
    return Promise.race([attached, this.end.then(() => false)]);
  }

  /** The program runs: the client joins input and signals. @throws CallerGoneError */
  join(): void {
    this.#client.send(encodeAnswer(ANSWER.join, 0, NOTHING, NOTHING));
  }

  /** Everything is cleaned up: the client has the minder leave. */
  cleaned(): void {
    if (!this.#gone) this.#client.send(encodeAnswer(ANSWER.cleaned, 0, NOTHING, NOTHING));
  }

  #await(says: number): Promise<number> {
    const heard = new Promise<number>((resolve, reject) => {
      if (this.#gone) reject(new CallerGoneError());
      else this.#waiting = { says, resolve, reject };
    });
    // Whoever waits for it may have failed before.
    heard.catch(() => {});
    return heard;
  }

  #hear(bytes: Uint8Array): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (; this.#rest.length >= WORD_SIZE; this.#rest = this.#rest.subarray(WORD_SIZE))
      this.#take(this.#rest.readUInt32LE(0), this.#rest.readInt32LE(4));
  }

  #take(type: number, value: number): void {
    if (this.#waiting?.says === type) {
      const { resolve } = this.#waiting;
      this.#waiting = undefined;
      resolve(value);
    } else if (type === SAY.signal) this.onSignal(value);
    else if (type === SAY.ended) this.#settleEnd({ kind: 'ended', waitStatus: value });
    else if (type === SAY.detached) this.#settleEnd({ kind: 'detached' });
    else if (type === SAY.lost) this.#settleEnd({ kind: 'lost' });
  }

  #leave(): void {
    this.#gone = true;
    this.#launch?.abandon();
    this.#waiting?.reject(new CallerGoneError());
    this.#waiting = undefined;
    this.#settleEnd({ kind: 'gone' });
  }
}
