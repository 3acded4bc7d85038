/**
 * One client from its first byte to its last: a request, the check of who asks, the command, the answer. Whatever goes wrong in here ends
 * this connection and nothing else.
 */
import { TvmmError } from '../../sys/errors.js';
import type { FileDescriptor } from '../../sys/fd.js';
import { sealedMemfd } from '../../sys/memfd.js';
import { createSocketpair } from '../../sys/socketpair.js';
import { launcherFile } from '../launch/launcher-file.js';
import { encodePlan } from '../plan/encode.js';
import { CONTROL, type Plan } from '../plan/plan.js';
import { NAMESPACES, type NamespaceType } from '../spec/namespaces.js';
import type { Caller } from './caller.js';
import { Connection, type ConnectionListener } from './connection.js';
import type { PeerCheck } from './peer.js';
import { planCache } from './plan-cache.js';
import { RemoteLaunch } from './remote-launch.js';
import { ANSWER, encodeAnswer, parseRequest, type Request } from './wire.js';

/** How a command ended, and what the client prints then. */
export interface Outcome {
  readonly status: number;
  readonly output: string;
  readonly errors: string;
}

/** A caller that prints, too. */
export interface Client extends Omit<Caller, 'execute'> {
  /** @param errors what the client writes to stderr before it executes the plan; after {@link Caller.begin} */
  execute(plan: Plan, descriptors: readonly number[], errors: string): RemoteLaunch;
  /** Sends what errand.ts has to say. @throws CallerGoneError */
  send(bytes: Uint8Array, descriptors?: readonly number[]): void;
  /** Bytes that wait for the client to read. */
  pending(): number;
  /** Resolves when few of them are left, or the client has. */
  drained(): Promise<void>;
  /** From now on what the client says is heard here; nobody hears it before. */
  listen(listener: ConnectionListener): void;
}

/** Runs a command line; `cold` for one that the client has to do itself. Does not throw. */
export type Command = (request: Request, client: Client) => Promise<Outcome | 'cold'>;

/** The client left before it could be given its plan. */
export class CallerGoneError extends TvmmError {
  constructor() {
    super('the caller has left', { code: 'CALLER_GONE' });
  }
}

const FAILED: Outcome = { status: 1, output: '', errors: 'tvmm: the engine cannot do this any more\n' };

function encodeDone({ status, output, errors }: Outcome): Buffer {
  return encodeAnswer(ANSWER.done, status, Buffer.from(output), Buffer.from(errors));
}

/** A request comes in one piece and at once; who takes longer wants something else. */
const PATIENCE_MS = 10_000;
const NOTHING = new Uint8Array();

export class Session implements Disposable {
  readonly #connection: Connection;
  readonly #timer: NodeJS.Timeout;
  #bytes: Buffer = Buffer.alloc(0);
  #launch: RemoteLaunch | undefined;
  #listener: ConnectionListener | undefined;
  #running = false;
  /** The client has become the launcher: it cannot go the cold way any more. */
  #begun = false;
  #over = false;

  /** @param ended is called once, when the connection is closed and the command over */
  constructor(
    socket: FileDescriptor,
    readonly peers: PeerCheck,
    readonly command: Command,
    readonly ended: (session: Session) => void,
  ) {
    this.#timer = setTimeout(() => this[Symbol.dispose](), PATIENCE_MS);
    this.#timer.unref();
    this.#connection = new Connection(socket, {
      data: (bytes) => this.#take(bytes),
      closed: () => {
        this.#launch?.abandon();
        this.#listener?.closed();
        this.#settle();
      },
    });
  }

  /** Listens to the client: it may be served, and the session over, when this returns. */
  open(): void {
    this.#connection.open();
  }

  /** Whether a command is under way. */
  get running(): boolean {
    return this.#running;
  }

  #take(bytes: Uint8Array): void {
    if (this.#running && this.#listener !== undefined) {
      this.#listener.data(bytes);
      return;
    }
    // Other clients have nothing to say but their request.
    const request = this.#running ? 'garbage' : parseRequest(this.#collect(bytes));
    if (request === 'more') return;
    if (request === 'garbage') {
      this[Symbol.dispose]();
      return;
    }
    const pid = request === 'foreign' ? undefined : this.#peer();
    if (pid === undefined || request === 'foreign') {
      this.#answer('cold');
      return;
    }
    this.#running = true;
    this.#bytes = Buffer.alloc(0);
    clearTimeout(this.#timer);
    void this.#run(request, pid);
  }

  #collect(bytes: Uint8Array): Buffer {
    this.#bytes = this.#bytes.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#bytes, bytes]);
    return this.#bytes;
  }

  #peer(): number | undefined {
    try {
      return this.peers.check(this.#connection.fd);
    } catch {
      return undefined;
    }
  }

  async #run(request: Request, pid: number): Promise<void> {
    let outcome: Outcome | 'cold';
    try {
      outcome = await this.command(request, {
        pid,
        umask: request.umask,
        variables: request.variables,
        begin: (namespaces, without) => this.#begin(namespaces, without),
        execute: (plan, descriptors, errors) => this.#execute(plan, descriptors, errors),
        send: (bytes, descriptors) => this.#send(bytes, descriptors),
        pending: () => this.#connection.pending,
        drained: () => this.#connection.drained(),
        listen: (listener) => {
          this.#listener = listener;
        },
      });
    } catch (error) {
      outcome = { status: 1, output: '', errors: `tvmm-oci: ${String(error)}\n` };
    }
    this.#running = false;
    this.#answer(outcome);
    if (this.#connection.closed) this.#settle();
  }

  #answer(outcome: Outcome | 'cold'): void {
    if (this.#launch?.callerLeft !== true)
      this.#connection.send(
        outcome === 'cold' && !this.#begun
          ? encodeAnswer(ANSWER.cold, 0, NOTHING, NOTHING)
          : encodeDone(outcome === 'cold' ? FAILED : outcome),
      );
    this.#connection.end();
    if (this.#connection.closed) this.#settle();
  }

  #send(bytes: Uint8Array, descriptors: readonly number[] = []): void {
    if (descriptors.length === 0) this.#connection.send(bytes);
    else if (!this.#connection.sendDescriptors(descriptors, bytes)) throw new CallerGoneError();
    if (this.#connection.closed) throw new CallerGoneError();
  }

  /** Sends the launcher. */
  #begin(namespaces: readonly NamespaceType[], without = 0): void {
    const flags = namespaces.reduce((sum, type) => sum | NAMESPACES[type].flag, 0);
    const header = encodeAnswer(ANSWER.launcher, flags, without, NOTHING);
    if (!this.#connection.sendDescriptors([launcherFile().fd], header)) throw new CallerGoneError();
    this.#begun = true;
  }

  /** Sends the plan, and the launch's own control socket. */
  #execute(plan: Plan, descriptors: readonly number[], errors: string): RemoteLaunch {
    const control = plan.inherited[CONTROL];
    if (control === undefined) throw new RangeError('the plan has no control socket');
    const [ours, theirs] = createSocketpair('the launch’s control socket');
    try {
      const prepared = planCache.prepared(plan);
      using file = sealedMemfd('tvmm-plan', prepared?.bytes() ?? encodePlan(plan), 'data');
      using _theirs = theirs;
      const text = Buffer.from(errors);
      const header = encodeAnswer(ANSWER.plan, control, 2 + descriptors.length, text).subarray(0, 16);
      const sent = this.#connection.sendDescriptors([file.fd, theirs.fd, ...descriptors], header);
      if (!sent) throw new CallerGoneError();
      if (text.length > 0) this.#connection.send(text);
      this.#launch = new RemoteLaunch(plan, ours, prepared?.exact);
      return this.#launch;
    } catch (error) {
      ours[Symbol.dispose]();
      throw error;
    }
  }

  #settle(): void {
    clearTimeout(this.#timer);
    if (this.#running || this.#over) return;
    this.#over = true;
    this.ended(this);
  }

  /** Closes the connection; a command that runs goes on to its end. */
  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
    this.#listener?.closed();
    this.#settle();
  }
}
