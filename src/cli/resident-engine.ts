/**
 * `tvmm` as the resident engine runs it for a client (firmware/tvmm.c): the container commands' own code with the caller's surroundings
 * (engine/here.ts). Commands that stream, read the caller's stdin or may wait for long are sent back to their caller, and so is whatever
 * depends on what the engine cannot know.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import type { pino } from 'pino';
import type { EngineContext, EngineImages } from '../container/engine/context.js';
import { exitCodeOf } from '../container/engine/frames.js';
import { openEngine } from '../container/engine/open.js';
import type { ContainerRecord } from '../container/engine/record.js';
import { openPidfd } from '../container/runtime/pidfd.js';
import { ColdError } from '../container/serve/caller.js';
import { engineStarter } from '../container/serve/engine-starter.js';
import { Errands, type StreamName } from '../container/serve/errand.js';
import { CallerGoneError, type Client, type Outcome } from '../container/serve/session.js';
import type { Request } from '../container/serve/wire.js';
import { withoutAliases } from './aliases.js';
import { commandName } from './command-name.js';
import { type Here, type Joined, type JoinOptions, lookUpHere } from './engine/here.js';
import { ENGINE_COMMANDS } from './engine/table.js';
import { runOne } from './run.js';

/** What comes to an end soon and needs nothing of the caller's but its words; `run` and `start -a` have their ways to its streams. */
const RESIDENT =
  'run create start stop restart rm ps exec attach logs port rename inspect stats top kill pause unpause update diff'.split(
    ' ',
  );
/** Of groups of commands, those. */
const RESIDENT_CHILDREN = ['ls', 'list', 'inspect', 'ps', 'create', 'rm', 'prune', 'start', 'stop', 'exists'];
const RESIDENT_GROUPS = ['volume', 'network', 'container', 'pod'];
/** They change what the whole process does, or print with the terminal's width. */
const COLD_WORDS = ['--help', '-h', '--debug', '--log-level', '--version', '-V'];
/** Files that are others for every process. */
const OWN_FILES = /\/dev\/(fd|std(in|out|err)|tty)|\/proc\/(self|thread-self)/;
/** They name the engine, or where it keeps things. */
const KNOWN_VARIABLES = ['TVMM_ENGINE', 'TVMM_ROOT', 'TVMM_RUN'];
/** What is printed is kept until then, so that a command can still be sent back. */
const MAX_KEPT = 65536;
const MAX_PENDING = 1 << 20;

/** What may be for this engine. Right for what is turned down, a guess for the rest. */
function isResident({ args, umask, variables }: Request, client: Client): boolean {
  const [name, child = ''] = withoutAliases(args);
  const known = RESIDENT_GROUPS.includes(name ?? '')
    ? RESIDENT_CHILDREN.includes(child)
    : RESIDENT.includes(name ?? '');
  return (
    known &&
    process.geteuid?.() === 0 &&
    umask === process.umask() &&
    variables.LISTEN_PID !== String(client.pid) &&
    !args.some((word, at) => COLD_WORDS.includes(word) || isOwnFile(word, args[at - 1])) &&
    ['TVMM_ROOT', 'TVMM_RUN'].every(
      (one) => variables[one] === undefined || variables[one].startsWith('/'),
    ) &&
    settings(variables) === settings(process.env)
  );
}

/** Of an option: what a program in the container gets is its own matter. */
function isOwnFile(word: string, before = ''): boolean {
  return (word.startsWith('-') || before.startsWith('-')) && OWN_FILES.test(word);
}

/** The variables that change how tvmm, or Node, works. */
function settings(variables: Readonly<Record<string, string | undefined>>): string {
  return Object.entries(variables)
    .filter(([name]) => name === 'NODE_OPTIONS' || (/^TVMM_/.test(name) && !KNOWN_VARIABLES.includes(name)))
    .map((pair) => pair.join('='))
    .sort()
    .join('\n');
}

/** A download takes its time, shows its progress and ends with Ctrl-C: only images that are here. */
function presentImages(images: EngineImages, refuse: () => never): EngineImages {
  return {
    ...images,
    async find(name, pull, report, source) {
      if (pull === 'always') refuse();
      try {
        return await images.find(name, 'never', report, source);
      } catch (error) {
        return pull === 'never' ? Promise.reject(error) : refuse();
      }
    },
  };
}

class ClientsHere implements Here {
  readonly #request: Request;
  readonly #client: Client;
  readonly #errands: Errands;
  #kept: { readonly stream: StreamName; text: string }[] = [];
  #characters = 0;
  /** Something has been printed or started. */
  #begun = false;
  /** The client has become the launcher of a command. */
  #launched = false;
  cold = false;
  #status = 0;

  constructor(request: Request, client: Client) {
    this.#request = request;
    this.#client = client;
    this.#errands = new Errands(client);
  }

  get variables() {
    return this.#request.variables;
  }

  get cwd() {
    return this.#request.cwd;
  }

  get stdinIsTerminal() {
    return (this.#request.terminals & 1) !== 0;
  }

  print(stream: StreamName, text: string): Promise<void> | undefined {
    const last = this.#kept.at(-1);
    if (last?.stream === stream) last.text += text;
    else this.#kept.push({ stream, text });
    this.#characters += text.length;
    if (this.#characters < MAX_KEPT) return undefined;
    this.flush();
    return this.#client.pending() < MAX_PENDING ? undefined : this.#client.drained();
  }

  /** Sends what was printed. From here on the command cannot be sent back. */
  flush(): void {
    this.#begun = true;
    const kept = this.#kept;
    this.#kept = [];
    this.#characters = 0;
    for (const { stream, text } of kept) this.#errands.print(stream, Buffer.from(text));
  }

  /** The last words. What has been printed in turns is sent in turns, but to a client that has become a launcher and hears only the end. */
  outcome(): Outcome {
    const all = (stream: StreamName) =>
      this.#kept.flatMap((one) => (one.stream === stream ? [one.text] : [])).join('');
    const [first] = this.#kept;
    if (!this.#launched && (this.#kept.length > 2 || (this.#kept.length === 2 && first?.stream === 'stderr')))
      this.flush();
    return { status: this.#status, output: all('stdout'), errors: all('stderr') };
  }

  exit(status: number): void {
    this.#status = status;
  }

  needOwnProcess(): never {
    this.cold = !this.#begun;
    throw new ColdError('only a process with the caller’s own streams can do this');
  }

  async open(): Promise<EngineContext> {
    const { TVMM_ROOT, TVMM_RUN } = this.variables;
    const context = openEngine({
      root: TVMM_ROOT,
      run: TVMM_RUN,
      environment: this.variables,
      warn: (message) => this.#warn(message),
      starter: engineStarter(this.#client, this.#errands, (launched) => {
        this.flush();
        this.#launched = launched;
      }),
    });
    return { ...context, images: presentImages(context.images, () => this.needOwnProcess()) };
  }

  /** A line of the log, as log.ts writes it. */
  #warn(message: string): void {
    const factory: typeof pino = createRequire(import.meta.url)('pino');
    const destination = { write: (line: string) => void this.print('stderr', line) };
    factory({ level: 'warn', base: { pid: this.#client.pid } }, destination).warn({}, message);
  }

  async attach(context: EngineContext, record: ContainerRecord, options: JoinOptions): Promise<Joined> {
    const errands = this.#errands;
    if (record.init === undefined) throw new ColdError('the container has no process');
    using pidfd = openPidfd(record.init);
    this.flush();
    const attached = await errands.attach(context.store.folder(record.id), pidfd.fd, {
      input: options.interactive,
      terminal: options.tty,
      signals: options.signals,
      cleansUp: options.cleansUp,
      ownsInput: options.ownsInput,
    });
    if (!attached) throw new CallerGoneError();
    return {
      async join(onSignal) {
        errands.onSignal = (number) => {
          for (const name of signalsOf(number)) onSignal(name);
        };
        errands.join();
        const end = await errands.end;
        return end.kind === 'ended'
          ? { kind: 'ended', exitCode: exitCodeOf(end.waitStatus) }
          : { kind: end.kind };
      },
      async done() {
        errands.cleaned();
      },
      [Symbol.dispose]() {},
    };
  }
}

function signalsOf(number: number): NodeJS.Signals[] {
  const names = Object.keys(constants.signals).filter(
    (name): name is NodeJS.Signals => name in constants.signals,
  );
  const found = names.find((name) => constants.signals[name] === number);
  return found === undefined ? [] : [found];
}

const storage = new AsyncLocalStorage<ClientsHere>();
lookUpHere(() => storage.getStore());

/** As session.ts wants it: does not throw. */
export async function runResidentEngine(request: Request, client: Client): Promise<Outcome | 'cold'> {
  if (!isResident(request, client)) return 'cold';
  const here = new ClientsHere(request, client);
  const entries = ENGINE_COMMANDS.map((entry) => ({ ...entry, group: '' }));
  const args = withoutAliases(request.args);
  await storage.run(here, () => runOne(args, entries, commandName(args)));
  if (here.cold) return 'cold';
  return here.outcome();
}

/** Loads what the first command would have to load otherwise. */
export async function warmUp(): Promise<void> {
  await Promise.all(ENGINE_COMMANDS.filter(({ name }) => RESIDENT.includes(name)).map(({ load }) => load()));
}
